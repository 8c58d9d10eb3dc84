// Prints the instruction sets beside the portable one that this processor has, as a list of CMake.
#include <cstdio>

#include "cpu/processor.h"

int main() {
  if (so3md::cpu::processor_has_avx2()) std::fputs("avx2", stdout);
  if (so3md::cpu::processor_has_avx512()) std::fputs(";avx512", stdout);
}
