// Gives back the memory that a start needs and a running process does not.
#pragma once

#include <cstddef>

namespace starlane {

// Takes the pages of programs and libraries that were read from their files and never written out of this process's resident set;
// the kernel's page cache has them when they are touched again. Also gives the C library's free memory back. Returns how many bytes
// of files were resident before.
size_t releaseProgramPages();

}  // namespace starlane
