/// The end of what a program writes, of any length, in little memory.
struct OutputTail {
  let bytesMax: Int
  private var kept: [UInt8] = []

  init(bytesMax: Int) { self.bytesMax = bytesMax }

  mutating func add(_ bytes: some Collection<UInt8>) {
    kept += bytes.suffix(bytesMax)
    if kept.count > 2 * bytesMax { kept = Array(kept.suffix(bytesMax)) }
  }

  var bytes: [UInt8] { Array(kept.suffix(bytesMax)) }
}
