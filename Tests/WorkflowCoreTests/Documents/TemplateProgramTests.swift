import Testing

@testable import WorkflowCore

@Suite("What tells one program from another, for those who learn from runs")
struct TemplateProgramTests {
  private func program(_ image: String, _ command: [String], _ args: [String] = [], source: String? = nil) -> Int64 {
    WorkflowTemplate(
      name: "main", body: .container(ContainerTemplate(image: image, command: command, args: args, source: source))
    ).program
  }

  @Test("What a program is given to work on does not make it another one")
  func arguments() {
    #expect(program("bwa", ["bwa", "mem"], ["a.fq"]) == program("bwa", ["bwa", "mem"], ["b.fq", "-t", "4"]))
    #expect(program("i", ["sh", "-c"], ["echo", "1"]) == program("i", ["sh", "-c"], ["echo", "2"]))
  }

  @Test("Another image, command, script, or word that an image's own command is told is another program")
  func programs() {
    let all = [
      program("a", ["sh", "-c"], ["x"]), program("b", ["sh", "-c"], ["x"]), program("a", ["sh", "-c"], ["y"]),
      program("a", ["bash", "-c"], ["x"]), program("a", ["sh"], source: "x"), program("a", ["sh"], source: "y"),
      program("a", [], ["train"]), program("a", [], ["serve"]), program("a", ["ab", "c"]), program("a", ["a", "bc"]),
    ]
    #expect(Set(all).count == all.count)
    #expect(!all.contains(0))
  }

  @Test("What runs nothing itself has no program")
  func none() {
    #expect(WorkflowTemplate(name: "main", body: .steps([])).program == 0)
  }
}
