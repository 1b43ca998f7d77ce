"""What is trained, by the names that saves know it by."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from peft import PeftModel, get_peft_model_state_dict

from engine.worker.loading import trainable

_Place = tuple[int, torch.Size, tuple[int, ...], torch.dtype]


class Trained:
    """The trained parameters of a model whose optimizer there is already.

    They are looked up once, since that walks over all modules several times; from then on they are
    the very objects that the optimizer updates.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.parameters = trainable(model)
        """By the model's names."""
        self.names = {id(value): name for name, value in self.parameters.items()}
        self.adapter = model if isinstance(model, PeftModel) else None
        """The model, where what is saved of it is an adapter."""
        self._by_file_name = self._as_saved()

    @property
    def are_saved_as_they_are(self) -> bool:
        """Whether PEFT computes nothing when it saves."""
        return self._by_file_name is not None

    def weights(self) -> Mapping[str, torch.Tensor]:
        """What is saved of them, by its names in the file. Not copies, but for what PEFT computes
        when it saves."""
        return self._of_adapter() if self._by_file_name is None else self._by_file_name

    def _as_saved(self) -> dict[str, torch.nn.Parameter] | None:
        """None where PEFT does not save the parameters as they are."""
        if self.adapter is None:
            return self.parameters
        own = {_place(value): value for value in self.parameters.values()}
        found = {name: own.get(_place(tensor)) for name, tensor in self._of_adapter().items()}
        known = {name: value for name, value in found.items() if value is not None}
        return known if len(known) == len(found) else None

    def _of_adapter(self) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = get_peft_model_state_dict(
            self.adapter, save_embedding_layers=False
        )
        return found


def _place(tensor: torch.Tensor) -> _Place:
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype
