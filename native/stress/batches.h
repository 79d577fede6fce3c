// A BatchSocket under clients that send anything; exits the process at the first error.
#pragma once

void stressBatches(int datagrams);
