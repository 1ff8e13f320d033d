import FederationAPI
import Testing

@testable import fubini

@Suite("why a task is where it is, in a few words")
struct ExplanationTests {
  @Test("a policy's grounds come before those of the score; without a policy the score's are told")
  func policy() {
    let note = "local-first: elsewhere it waits about 12 min, above 10 min"
    var chosen = CandidateDocument(cluster: "cloud", chosen: true, reason: note, finishSeconds: 60, priceMinorUnits: 4)
    let others = [
      CandidateDocument(cluster: "local", chosen: false, rejected: "Full", reason: "all 4 slots are taken"),
      CandidateDocument(cluster: "dear", chosen: false, finishSeconds: 60, priceMinorUnits: 400),
    ]
    #expect(Explain.summary(ExplanationDocument(candidates: [chosen] + others)) == note)
    #expect(Explain.table(ExplanationDocument(candidates: [chosen] + others)).contains(note))
    chosen.reason = nil
    #expect(Explain.summary(ExplanationDocument(candidates: [chosen] + others)) == "cheapest")
  }
}
