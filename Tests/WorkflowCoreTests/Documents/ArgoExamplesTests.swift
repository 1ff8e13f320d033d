import FederationModel
import Foundation
import Testing
import WorkflowCore

/// The corpus of Argo's own examples stands beside the repository, not in it.
private enum Corpus {
  static let folder: URL? = {
    let repository = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
    let named = ProcessInfo.processInfo.environment["FUBINI_ARGO_CORPUS"].map { URL(filePath: $0) }
    let folder = named ?? repository.deletingLastPathComponent().appending(path: "shared/data/argo")
    return FileManager.default.fileExists(atPath: folder.appending(path: "expected.json").path) ? folder : nil
  }()

  struct Entry: Decodable {
    var path: String
    var tier: String
    var kinds: [String]
    var features: [String]
  }

  static func entries() throws -> [Entry] {
    guard let folder else { return [] }
    return try JSONDecoder().decode([Entry].self, from: Data(contentsOf: folder.appending(path: "expected.json")))
  }
}

@Suite("Argo's own examples")
struct ArgoExamplesTests {
  /// What a refusal of a genuine Argo document may be about; anything else is a defect of the decoder.
  private static let unsupportedMarks = [
    "not supported", "only documents of kind", "supported yet",
    "go to the project's own repository", "cannot be taken yet", "never share the host's network",
  ]

  @Test(
    "each decodes, or is refused by name for what this version does not support",
    .enabled(if: Corpus.folder != nil, "the corpus of Argo's examples is not beside the repository"))
  func everyExample() throws {
    let folder = try #require(Corpus.folder)
    var decoded: [String] = []
    for entry in try Corpus.entries() {
      let bytes = try Data(contentsOf: folder.appending(path: entry.path))
      do throws(DocumentErrors) {
        for document in try ArgoDocument.decodeAll(bytes) {
          switch document {
          case .workflow(let definition):
            #expect(try WorkflowDefinition(json: definition.canonicalJSON).spec == definition.spec, "\(entry.path)")
          case .template(let definition):
            let restored = try WorkflowTemplateDefinition(json: definition.canonicalJSON)
            #expect(restored.spec == definition.spec, "\(entry.path)")
          case .cronWorkflow(let definition):
            let restored = try CronWorkflowDefinition(json: definition.canonicalJSON)
            #expect(restored.spec == definition.spec, "\(entry.path)")
          }
        }
        decoded.append(entry.path)
      } catch {
        // A link that was stored as the text of its target holds no document.
        if String(decoding: bytes, as: UTF8.self).hasPrefix("../") {
          print("no document: \(entry.path)")
          continue
        }
        for problem in error.problems {
          let isUnsupported = Self.unsupportedMarks.contains { problem.message.contains($0) }
          #expect(isUnsupported, "\(entry.path): \(problem)")
        }
        print(
          "refused: \(entry.path) (\(entry.tier)):", Set(error.problems.map(\.message)).sorted().joined(separator: "; ")
        )
      }
    }
    print("decoded: \(decoded.count): \(decoded.joined(separator: ", "))")
    #expect(decoded.count >= 35)
  }

  @Test(
    "what mentions templates of other examples is resolved with them",
    .enabled(if: Corpus.folder != nil, "the corpus of Argo's examples is not beside the repository"))
  func references() throws {
    let folder = try #require(Corpus.folder)
    var documents: [ArgoDocument] = []
    for entry in try Corpus.entries() {
      guard let found = try? ArgoDocument.decodeAll(Data(contentsOf: folder.appending(path: entry.path))) else {
        continue
      }
      documents += found
    }
    let templates = LoadedTemplates(
      documents.compactMap { if case .template(let template) = $0 { template } else { nil } })
    var resolved = 0
    for document in documents where !document.references.isEmpty {
      guard templates.missing(for: document.references).isEmpty else {
        print("not in the corpus: \(templates.missing(for: document.references)) of \(document.metadata)")
        continue
      }
      resolved += 1
      switch document {
      case .workflow(let definition):
        let whole = try definition.resolved(with: templates)
        #expect(try WorkflowDefinition(json: whole.canonicalJSON).spec == whole.spec)
        _ = try WorkflowProgram(whole)
      case .template(let template): try template.check(with: templates)
      case .cronWorkflow(let cron): try cron.check(with: templates)
      }
    }
    #expect(resolved >= 5)
  }
}
