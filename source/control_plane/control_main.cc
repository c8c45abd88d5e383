// gatehouse-control: the control plane and the commands that ask it.
#include "source/control_plane/cli.h"

int main(int argc, char** argv) { return gatehouse::control::RunCommandLine(argc, argv); }
