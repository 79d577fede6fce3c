// Whether the Node that has loaded the addon has the libraries of tunnels in its binary, in versions that fit.
#pragma once

namespace starlane {

// Why there are no tunnels in the pump; null when there are.
const char* whyNoTunnels();

}  // namespace starlane
