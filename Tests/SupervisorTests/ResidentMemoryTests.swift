internal import Glibc
internal import Testing

@testable internal import Supervisor

@Suite("Resident memory")
struct ResidentMemoryTests {
  private static func mapping(_ head: String, anonymous: String) -> String {
    "\(head)\nSize: 8 kB\nRss: 8 kB\nAnonymous: \(anonymous) kB\nVmFlags: rd mr mw me\n"
  }

  @Test(
    "only what nobody wrote and a file brings back is given back",
    arguments: [
      ("00400000-00402000 r-xp 00000000 fe:00 14 /usr/bin/agent", "0", true),
      ("00400000-00402000 r--p 00000000 fe:00 14 /usr/bin/agent with blanks", "0", true),
      // Relocated before it was made read-only.
      ("00400000-00402000 r--p 00000000 fe:00 14 /usr/bin/agent", "4", false),
      ("00400000-00402000 rw-p 00000000 fe:00 14 /usr/bin/agent", "0", false),
      ("00400000-00402000 r--s 00000000 fe:00 14 /var/journal", "0", false),
      ("00400000-00402000 r-xp 00000000 00:00 0 [vdso]", "0", false),
      ("00400000-00402000 r--p 00000000 00:00 0", "0", false),
    ])
  func choice(head: String, anonymous: String, isGivenBack: Bool) {
    let text =
      Self.mapping("00100000-00200000 rw-p 00000000 00:00 0 [heap]", anonymous: "8")
      + Self.mapping(head, anonymous: anonymous)
      + Self.mapping("00500000-00600000 rw-p 00000000 00:00 0", anonymous: "0")
    #expect(ResidentMemory.unchangedFileRanges(smaps: text) == (isGivenBack ? [0x400000..<0x402000] : []))
  }

  @Test(
    "text that is no smaps gives nothing back", arguments: ["", "\n \n", "Anonymous: 0 kB\n", "zz-yy r-xp 0 0 0 /x\n"])
  func garbage(text: String) { #expect(ResidentMemory.unchangedFileRanges(smaps: text).isEmpty) }

  @Test("giving back makes this process smaller, and it works on as before")
  func release() throws {
    let before = try #require(ResidentMemory.fileBytes())
    ResidentMemory.release()
    // Other tests run beside this one and map pages again: what matters is that code was unmapped and runs on.
    #expect(try #require(ResidentMemory.fileBytes()) < before)
    #expect((1...1000).map(String.init).joined().utf8.count == 2893)
  }
}
