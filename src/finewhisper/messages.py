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
    "--precision auto: bfloat16, for this processor has {features}": "--precision auto：bfloat16，因为处理器支持 {features}",
    "--precision auto: float32, for this processor has neither avx512_bf16 nor amx": (
        "--precision auto：float32，因为处理器既不支持 avx512_bf16 也不支持 amx"
    ),
    "computing on {device} in {precision}; CPU threads: {threads}": "在 {device} 上以 {precision} 计算；CPU 线程数：{threads}",
    "  others keep {busy:.1f} of {cores} cores busy, and threads wait for each other: --threads {fewer} may be faster": (
        "  其他程序占用了 {cores} 个核心中的 {busy:.1f} 个，而线程会互相等待：--threads {fewer} 可能更快"
    ),
    "Before you rely on the result:": "在依赖结果之前，请注意：",
    "The manifest does not say who speaks (`speaker`). If it is one person, others may be understood worse afterwards than by the "
    "base: train on other voices too, or see with --keep what becomes of them.": (
        "清单没有说明说话人（`speaker`）。如果只有一个人，训练之后模型对其他人的识别可能不如基础模型：请加入其他人的语音，"
        "或用 --keep 查看影响。"
    ),
    "{percent} % of the utterances are spoken by one voice ({voice}). Others may be understood worse afterwards than by the base: train "
    "on other voices too, or see with --keep what becomes of them.": (
        "{percent} % 的语句出自同一个人（{voice}）。训练之后模型对其他人的识别可能不如基础模型：请加入其他人的语音，或用 --keep 查看影响。"
    ),
    "The development set has no other voice either: its score says nothing about others.": (
        "开发集里也没有其他人的语音：它的得分不能说明对其他人的识别效果。"
    ),
    "{count} utterances are few. Below some {few}, much of what is learnt is chance: record more, or let each sound different every "
    "time it is heard (--augment), and take no difference for real that is smaller than the interval beside the score.": (
        "只有 {count} 条语句，太少了。少于约 {few} 条时，学到的内容很大程度上取决于偶然：请录制更多语音，"
        "或用 --augment 让每条语音每次听起来都有变化；"
        "小于得分旁区间的差异不可当真。"
    ),
    "Nothing will show what the model forgets. Name speech that must not get worse, such as other voices or languages, with --keep: "
    "base and result are compared on it.": (
        "没有任何数据能显示模型忘记了什么。请用 --keep 指定不能变差的语音，例如其他人的声音或其他语言：届时会在其上比较基础模型和结果。"
    ),
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
