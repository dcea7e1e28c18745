"""Measure exported C programs: flash memory, RAM, time on this machine, and instructions on microcontrollers.

    python benchmarks/c_programs.py NAME=FOLDER ...

A folder is what `digitcli export MODEL --to c` wrote. Needs gcc and valgrind; for microcontrollers the Debian
packages gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm. QEMU counts instructions, not cycles:
a processor takes one or more cycles for each.
"""

from __future__ import annotations

import re
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from digitcli.data.mnist import load_mnist_test
from digitcli.export.c_source import CHECK, OPTIONS

ROUNDS = 5  # of time measurements, in which the programs take turns
DIGITS = 1_000  # of each time measurement
FEW_DIGITS = 2  # whose instructions are counted
TICK_INSTRUCTIONS = 40  # of the timer of QEMU's board at 25 MHz, with one instruction a nanosecond
# Processor, its floating point unit, and QEMU's board with it.
MICROCONTROLLERS = {
    "Cortex-M3": (["-mcpu=cortex-m3", "-mthumb"], "mps2-an385"),
    "Cortex-M4F": (["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"], "mps2-an386"),
}
LINKER_SCRIPT = """
SECTIONS {
  .text 0x0 : { KEEP(*(.vectors)) *(.text* .rodata*) *(.ARM.ex*) }
  .data 0x20000000 : { *(.data*) }
  .bss : { *(.bss* COMMON) end = .; }
}
"""
BOARD = """
#include "digit_model.h"
#include <stdint.h>
extern const unsigned char digits[];
static volatile uint32_t *const timer = (volatile uint32_t *)0x40000000;
static uint32_t call(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}
static float pixels[DIGIT_PIXELS], logits[DIGIT_CLASSES];
int main(void)
{
    char text[12];
    uint32_t start, ticks;
    int at = 11, answers = 0;
    timer[2] = timer[1] = 0xffffffff;
    timer[0] = 1;
    ticks = 0;
    for (int digit = 0; digit < COUNT; digit++) {
        for (int i = 0; i < DIGIT_PIXELS; i++)
            pixels[i] = (float)digits[digit * DIGIT_PIXELS + i] / 255.0f;
        start = timer[1];
        answers = 10 * answers + digit_predict(pixels, logits);
        ticks += start - timer[1];
    }
    for (int number = 0; number < 2; number++) {
        uint32_t value = number ? ticks : (uint32_t)answers;
        at = 11;
        text[at] = 0;
        do
            text[--at] = (char)('0' + value % 10);
        while ((value /= 10) && at);
        call(4, &text[at]);
        call(4, " ");
    }
    call(0x18, (const void *)0x20026);
    for (;;)
        ;
}
void reset(void)
{
#ifdef __ARM_FP
    *(volatile uint32_t *)0xE000ED88 |= 0xF00000; /* switches the floating point unit on */
    __asm__ volatile("dsb\\n isb");
#endif
    main();
}
__attribute__((section(".vectors"), used)) static const void *const vectors[2] = {
    (const void *)0x20100000, (const void *)reset
};
"""


def main(arguments: list[str]) -> None:
    """Print one line of figures for each program."""
    folders = {name: Path(folder) for name, _, folder in (each.partition("=") for each in arguments)}
    images = load_mnist_test().images
    times = time_alternately(folders, images[:DIGITS].tobytes())
    for name, folder in folders.items():
        figures = [f"x86-64 flash {size_of(folder, 'gcc', ['-O2'])[0]:,}"]
        figures.append(f"RAM {size_of(folder, 'gcc', ['-O2'])[1]:,}")
        low, *_, high = sorted(times[name])
        figures.append(f"time {statistics.median(times[name]):.0f} us ({low:.0f} to {high:.0f})")
        figures.append(f"instructions {count_here(folder, images):,}")
        for processor, (options, board) in MICROCONTROLLERS.items():
            flash, ram = size_of(folder, "arm-none-eabi-gcc", [*options, "-Os"])
            figures.append(f"{processor} flash {flash:,} RAM {ram:,}")
            answers, instructions = count_on_board(folder, images, [*options, "-Os"], board)
            figures.append(f"instructions {instructions:,} (answers {answers})")
        print(f"{name}: " + "; ".join(figures), flush=True)


def compile_check(folder: Path, target: Path) -> None:
    """Compile the program that reads digits from its standard input."""
    sources = [folder / "digit_model.c", CHECK]
    subprocess.run(["gcc", *OPTIONS, "-I", folder, *sources, "-o", target, "-lm"], check=True)


def time_alternately(folders: dict[str, Path], digits: bytes) -> dict[str, list[float]]:
    """Return the processor time of each program for one digit, in microseconds, in several rounds."""
    times: dict[str, list[float]] = {name: [] for name in folders}
    with tempfile.TemporaryDirectory() as place:
        for name, folder in folders.items():
            compile_check(folder, Path(place, name))
        for _ in range(ROUNDS):
            for name in folders:
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                subprocess.run([Path(place, name)], input=digits, capture_output=True, check=True)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                times[name].append(1e6 * (after.ru_utime - before.ru_utime) / DIGITS)
    return times


def count_here(folder: Path, images: npt.NDArray[np.uint8]) -> int:
    """Return the instructions on this machine for one digit."""
    counts = []
    with tempfile.TemporaryDirectory() as place:
        program = Path(place, "check")
        compile_check(folder, program)
        for count in (FEW_DIGITS, 2 * FEW_DIGITS):
            command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program]
            digits = images[:count].tobytes()
            done = subprocess.run(command, input=digits, capture_output=True, check=True)
            counts.append(int(re.search(rb"Collected : (\d+)", done.stderr)[1]))
    return (counts[1] - counts[0]) // FEW_DIGITS


def size_of(folder: Path, compiler: str, options: list[str]) -> tuple[int, int]:
    """Return the bytes of code and constants, and those of static buffers, without library functions."""
    with tempfile.TemporaryDirectory() as place:
        target = Path(place, "digit_model.o")
        command = [compiler, "-std=c99", *options, "-c", folder / "digit_model.c", "-o", target]
        subprocess.run(command, check=True)
        done = subprocess.run(["size", target], capture_output=True, text=True, check=True)
    text, data, bss = map(int, done.stdout.splitlines()[1].split()[:3])
    return text + data, bss


def count_on_board(
    folder: Path, images: npt.NDArray[np.uint8], options: list[str], board: str
) -> tuple[str, int]:
    """Return the answers to a few digits, and the mean number of instructions for one, on a board of QEMU."""
    with tempfile.TemporaryDirectory() as place:
        digits = images[:FEW_DIGITS].tobytes()
        array = f"const unsigned char digits[] = {{{','.join(map(str, digits))}}};\n"
        Path(place, "board.c").write_text(f"#define COUNT {FEW_DIGITS}\n{BOARD}{array}")
        Path(place, "board.ld").write_text(LINKER_SCRIPT)
        program = Path(place, "board.elf")
        sources = [Path(place, "board.c"), folder / "digit_model.c"]
        links = ["-nostartfiles", "-T", Path(place, "board.ld"), "-Wl,-e,reset", "--specs=nosys.specs", "-lm"]
        command = ["arm-none-eabi-gcc", "-std=gnu99", *options, "-I", folder, *sources, "-o", program, *links]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        command = ["qemu-system-arm", "-M", board, "-nographic", "-icount", "shift=0", "-semihosting"]
        done = subprocess.run([*command, "-kernel", program], capture_output=True, text=True, timeout=1_200)
    answers, ticks = (done.stdout + done.stderr).split()[-2:]
    return answers, TICK_INSTRUCTIONS * int(ticks) // FEW_DIGITS


if __name__ == "__main__":
    main(sys.argv[1:])
