"""Saves when Windows ends the session: a log-off, a shutdown, an update that restarts at night.

Windows sends a process no signal then; it asks its windows. So the host has one that nobody sees,
and a thread that answers for it: it holds the end up until the run has saved, and says why. Of
messages and rules: https://learn.microsoft.com/windows/win32/shutdown/shutting-down
"""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

QUERY_END_SESSION, END_SESSION = 0x0011, 0x0016
"""WM_QUERYENDSESSION: may the session end? WM_ENDSESSION: it does, or after all it does not."""
_WHY = "Fettle saves the run that trains."
_CLASS = "FettleHost"


class SessionEnd:
    """What the window answers. Everything of Windows comes through ``hold`` and ``let_go``."""

    def __init__(
        self, ask: Callable[[], object], seconds: float,
        hold: Callable[[], object] = lambda: None, let_go: Callable[[], object] = lambda: None,
    ) -> None:  # fmt: skip
        """``ask`` has the host save and leave; it is called by the window's thread. ``seconds``:
        how long that is waited for; Windows may wait for less."""
        self._ask = ask
        self._seconds = seconds
        self.hold = hold
        """Tell Windows that there is a reason to wait."""
        self.let_go = let_go
        self._has_saved = threading.Event()

    def on_message(self, message: int, wparam: int) -> int | None:
        """The answer to a message; None where it is none of ours."""
        if message == QUERY_END_SESSION:
            self.hold()
            return 1
        if message != END_SESSION:
            return None
        if wparam:
            log.info("Windows ends the session; the worker is asked to save")
            self._ask()
            self._has_saved.wait(self._seconds)
        self.let_go()
        return 0

    def saved(self) -> None:
        """The host has saved, and Windows need not wait any longer."""
        self._has_saved.set()


def watch(end: SessionEnd) -> None:
    """Give the process its window, on Windows; elsewhere a signal says as much."""
    if sys.platform == "win32":
        threading.Thread(target=_serve, args=(end,), name="session-end", daemon=True).start()


def _serve(end: SessionEnd) -> None:
    try:
        _have_window(end)
    except (OSError, AttributeError):
        log.exception("Nothing is known of the end of a session")


if sys.platform == "win32":
    from ctypes import wintypes

    _Answering = ctypes.WINFUNCTYPE(
        ctypes.c_ssize_t, wintypes.HWND, wintypes.UINT, wintypes.WPARAM, wintypes.LPARAM
    )

    class _WindowClass(ctypes.Structure):
        """WNDCLASSW."""

        _fields_ = (
            ("style", wintypes.UINT), ("answer", _Answering), ("class_bytes", ctypes.c_int),
            ("window_bytes", ctypes.c_int), ("instance", wintypes.HINSTANCE),
            ("icon", wintypes.HANDLE), ("cursor", wintypes.HANDLE),
            ("background", wintypes.HANDLE), ("menu", wintypes.LPCWSTR),
            ("name", wintypes.LPCWSTR),
        )  # fmt: skip

    def _user32() -> Any:
        library = ctypes.WinDLL("user32", use_last_error=True)
        # Handles are pointers: without this they would be cut to 32 bits.
        library.DefWindowProcW.restype = ctypes.c_ssize_t
        library.DefWindowProcW.argtypes = (
            wintypes.HWND, wintypes.UINT, wintypes.WPARAM, wintypes.LPARAM,
        )  # fmt: skip
        library.CreateWindowExW.restype = wintypes.HWND
        library.CreateWindowExW.argtypes = (
            wintypes.DWORD, wintypes.LPCWSTR, wintypes.LPCWSTR, wintypes.DWORD,
            ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int,
            wintypes.HWND, wintypes.HANDLE, wintypes.HINSTANCE, wintypes.LPVOID,
        )  # fmt: skip
        library.ShutdownBlockReasonCreate.argtypes = (wintypes.HWND, wintypes.LPCWSTR)
        library.ShutdownBlockReasonDestroy.argtypes = (wintypes.HWND,)
        library.GetMessageW.argtypes = (
            ctypes.POINTER(wintypes.MSG), wintypes.HWND, wintypes.UINT, wintypes.UINT,
        )  # fmt: skip
        library.DispatchMessageW.argtypes = (ctypes.POINTER(wintypes.MSG),)
        return library

    def _have_window(end: SessionEnd) -> None:
        """Make the window and answer for it, for as long as the process lives."""
        user32 = _user32()

        def answer(window: Any, message: int, wparam: int, lparam: int) -> int:
            answered = end.on_message(message, wparam)
            if answered is not None:
                return answered
            return int(user32.DefWindowProcW(window, message, wparam, lparam))

        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel32.GetModuleHandleW.restype = wintypes.HMODULE
        instance = kernel32.GetModuleHandleW(None)
        kind = _WindowClass(answer=_Answering(answer), instance=instance, name=_CLASS)
        if not user32.RegisterClassW(ctypes.byref(kind)):
            raise ctypes.WinError(ctypes.get_last_error())
        window = user32.CreateWindowExW(
            0, _CLASS, "Fettle", 0, 0, 0, 0, 0, None, None, instance, None
        )  # fmt: skip
        if not window:
            raise ctypes.WinError(ctypes.get_last_error())
        end.hold = lambda: user32.ShutdownBlockReasonCreate(window, _WHY)
        end.let_go = lambda: user32.ShutdownBlockReasonDestroy(window)
        message = wintypes.MSG()
        while user32.GetMessageW(ctypes.byref(message), None, 0, 0) > 0:
            user32.DispatchMessageW(ctypes.byref(message))

else:

    def _have_window(end: SessionEnd) -> None:
        """Nothing: here a signal says as much."""
