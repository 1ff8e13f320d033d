import ControlPlaneServer

@main
enum FubiniControlPlane {
  static func main() async { await ControlPlaneCommand.run() }
}
