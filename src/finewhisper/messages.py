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
    # of recordings: what is wrong with them but does not prevent their use
    "is digital silence: every sample is zero": "是数字静音：所有采样均为零",
    "is hardly audible: its highest peak is {peak_db:.0f} dB of full scale": "几乎听不见：最高峰值仅为满量程的 {peak_db:.0f} dB",
    "is cut short: it breaks off in the middle of a page, the data end after {found_s:.2f} s": (
        "不完整：在一页中间中断，数据到 {found_s:.2f} 秒为止"
    ),
    "is cut short: its header promises {promised_s:.2f} s, the data end after {found_s:.2f} s": (
        "不完整：文件头声明 {promised_s:.2f} 秒，数据到 {found_s:.2f} 秒为止"
    ),
    "1 damaged packet is skipped": "已跳过 1 个损坏的数据包",
    "{count} damaged packets are skipped": "已跳过 {count} 个损坏的数据包",
    "1 damaged page is read as far as possible": "1 个损坏的页已尽量读取",
    "{count} damaged pages are read as far as possible": "{count} 个损坏的页已尽量读取",
    "some of its pages are damaged or missing": "有些页已损坏或丢失",
    "{some}, at {places}": "{some}，位于 {places}",
    "{at_s:.2f} s": "{at_s:.2f} 秒",
    " and {count} more": " 等另外 {count} 处",
    "{length_s:.2f} s at {at_s:.2f} s": "{at_s:.2f} 秒处 {length_s:.2f} 秒",
    "a hole in its time stamps is read as silence: {places}": "时间戳有 1 处空缺，按静音读取：{places}",
    "{count} holes in its time stamps are read as silence: {places}": "时间戳有 {count} 处空缺，按静音读取：{places}",
    "its time stamps jump to where the file cannot reach, at {at_s:.2f} s; they are passed over": (
        "时间戳在 {at_s:.2f} 秒处跳到文件不可能达到的位置，已忽略"
    ),
    "{count} files are joined in it, and read one after the other": "其中拼接了 {count} 个文件，已依次读取",
    "has {count} audio tracks: {listed}; {read} is read (transcribe --track takes another)": (
        "有 {count} 条音轨：{listed}；读取的是 {read}（用 transcribe --track 选择其他音轨）"
    ),
    "its two channels are in opposite phase, and their mean is silence: the first one is read alone": (
        "两个声道反相，平均后为静音：只读取第一个声道"
    ),
    "its floating-point samples are as large as {bits}-bit integers, and are scaled to full scale": (
        "浮点采样的数值与 {bits} 位整数一样大，已缩放到满量程"
    ),
    "{notice} (in the part from {offset_s:.2f} s)": "{notice}（在从 {offset_s:.2f} 秒开始的部分中）",
    "clips with {what}: {count}; the first is {path}: {notice}": "{what}的语音：{count} 段；第一段是 {path}：{notice}",
    "a cut end": "结尾不完整",
    "damaged packets": "有损坏数据包",
    "holes in their time stamps": "时间戳有空缺",
    "time stamps that are passed over": "时间戳被忽略",
    "several files in one": "由多个文件拼接",
    "samples that are scaled": "采样被缩放",
    "channels in opposite phase": "声道反相",
    "several audio tracks": "有多条音轨",
    "hardly anything to hear": "几乎没有声音",
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
