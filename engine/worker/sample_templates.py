"""Chat templates of the sample models, in the markup of their families.

``{% generation %}`` marks the assistant's words and the token that ends them, so that a loss on
answers only can be computed. Functions are listed before the first turn, and what a function
answered has a turn of its own or is the user's. Any order of turns is rendered, none is refused.
"""

from __future__ import annotations

_SAID = """\
{%- macro said(message) -%}
{{- message.content or '' -}}
{%- for call in message.tool_calls or [] -%}
{{- '\\n' if message.content or not loop.first else '' -}}
{{- (call.function or call) | tojson -}}
{%- endfor -%}
{%- endmacro -%}
"""

_LISTED = """\
{%- set listed = '' -%}
{%- if tools -%}
{%- set listed = 'You may call these functions:\\n' + (tools | tojson) -%}
{%- endif -%}
"""

LLAMA = (
    _SAID
    + _LISTED
    + """\
{{- bos_token -}}
{%- if listed -%}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' + listed + '<|eot_id|>' -}}
{%- endif -%}
{%- for message in messages -%}
{%- set role = 'ipython' if message.role == 'tool' else message.role -%}
{{- '<|start_header_id|>' + role + '<|end_header_id|>\\n\\n' -}}
{%- if role == 'assistant' -%}
{%- generation -%}{{- said(message) + '<|eot_id|>' -}}{%- endgeneration -%}
{%- else -%}
{{- said(message) + '<|eot_id|>' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
{%- endif -%}
"""
)

QWEN = (
    _SAID
    + _LISTED
    + """\
{%- if listed -%}
{{- '<|im_start|>system\\n' + listed + '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
{{- '<|im_start|>assistant\\n' -}}
{%- generation -%}{{- said(message) + '<|im_end|>' -}}{%- endgeneration -%}
{{- '\\n' -}}
{%- elif message.role == 'tool' -%}
{{- '<|im_start|>user\\n<tool_response>\\n' + said(message) + '\\n</tool_response><|im_end|>\\n' -}}
{%- else -%}
{{- '<|im_start|>' + message.role + '\\n' + said(message) + '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""
)

# Mistral and Gemma know no system turn: it is said at the beginning of the next user's turn.

MISTRAL = (
    _SAID
    + _LISTED
    + """\
{{- bos_token -}}
{%- set held = namespace(text=listed + '\\n\\n' if listed else '') -%}
{%- for message in messages -%}
{%- if message.role == 'system' -%}
{%- set held.text = held.text + said(message) + '\\n\\n' -%}
{%- elif message.role == 'assistant' -%}
{%- generation -%}{{- ' ' + said(message) + eos_token -}}{%- endgeneration -%}
{%- else -%}
{{- '[INST] ' + held.text + said(message) + '[/INST]' -}}
{%- set held.text = '' -%}
{%- endif -%}
{%- endfor -%}
"""
)

GEMMA = (
    _SAID
    + _LISTED
    + """\
{{- bos_token -}}
{%- set held = namespace(text=listed + '\\n\\n' if listed else '') -%}
{%- for message in messages -%}
{%- if message.role == 'system' -%}
{%- set held.text = held.text + said(message) + '\\n\\n' -%}
{%- elif message.role == 'assistant' -%}
{{- '<start_of_turn>model\\n' -}}
{%- generation -%}{{- said(message) + '<end_of_turn>' -}}{%- endgeneration -%}
{{- '\\n' -}}
{%- else -%}
{{- '<start_of_turn>user\\n' + held.text + said(message) + '<end_of_turn>\\n' -}}
{%- set held.text = '' -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<start_of_turn>model\\n' -}}
{%- endif -%}
"""
)

TEMPLATES: dict[str, str] = {"llama": LLAMA, "mistral": MISTRAL, "qwen": QWEN, "gemma": GEMMA}
"""Family to template."""
