// Alone in its file, because the build gives this file a macro, and a file with options of its own is compiled alone.
#include "engine/interface_version.h"

namespace so3md {

const char* interface_version() { return SO3MD_INTERFACE_VERSION; }

}  // namespace so3md
