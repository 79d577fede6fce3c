#pragma once

// A BatchSocket under clients that send what they like; ends the process at the first thing that is wrong.
void stressBatches(int datagrams);
