"""What people read while they wait, in English or Chinese: bars, notices and closing lines, never errors.

The locale chooses, as POSIX has it: the first of LC_ALL, LC_MESSAGES and LANG that is set. English stands in the code, and the table below
has the Chinese for it.
"""

from __future__ import annotations

import os
import sys

_CHINESE = {
    "transcribe": "转写",
    "{{l_bar}}{{bar}}| {{n:.0f}}/{{total:.0f}} s of audio [{{elapsed}} so far, {{remaining}} left{{postfix}}]": (
        "{{l_bar}}{{bar}}| 音频 {{n:.0f}}/{{total:.0f}} 秒 [已用 {{elapsed}}，剩余 {{remaining}}{{postfix}}]"
    ),
    "{speed:.1f} times real time": "{speed:.1f} 倍实时速度",
    "{name}: wrote {files}": "{name}：已写入 {files}",
    "{name}: skipped {files}, which is there already; --overwrite replaces it": "{name}：已跳过 {files}，文件已存在；用 --overwrite 可替换",
    "nothing to do: the results of 1 recording are there already": "无需处理：1 个录音的结果都已存在",
    "nothing to do: the results of {count} recordings are there already": "无需处理：{count} 个录音的结果都已存在",
    "1 recording": "1 个录音",
    "{count} recordings": "{count} 个录音",
    "{recordings}, {heard:.1f} s of audio in {took:.1f} s ({speed:.1f} times real time)": (
        "{recordings}，音频 {heard:.1f} 秒，用时 {took:.1f} 秒（{speed:.1f} 倍实时速度）"
    ),
    ", {count} skipped": "，跳过 {count} 个",
    "no speech was found, so nothing was decoded (--no-vad decodes all the same)": "未检测到语音，因此未解码（--no-vad 可强制解码）",
    # of the bars that evaluate and finetune show
    "checking": "检查",
    "transcribing": "转写",
    "encoding audio": "编码音频",
    "fine-tuning": "微调",
    "Decoding": "解码",
    "Reading headers": "读取文件头",
    " clip": " 段",
    " file": " 个文件",
    " steps": " 步",
}


def say(english: str, **values: object) -> str:
    """A text in the reader's language, with its ``{values}`` filled in.

    Raises:
        KeyError: the table has no Chinese for it, whatever the reader's language.
    """
    chinese = _CHINESE[english]
    return (chinese if _reads_chinese() else english).format(**values)


def local(english: str) -> str:
    """A word of the table in the reader's language; any other text, such as a file's name, as it is."""
    return _CHINESE.get(english, english) if _reads_chinese() else english


def _reads_chinese() -> bool:
    """Whether the locale is Chinese and the terminal can show it."""
    locale = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return locale.lower().startswith("zh") and all(_can_show(stream) for stream in (sys.stdout, sys.stderr))


def _can_show(stream: object) -> bool:
    try:
        "转写".encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
