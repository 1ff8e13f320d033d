/// Finding what somebody meant to write.
enum NearestName {
  /// Finding a suggestion must stay cheap beside the problem that it belongs to.
  private static let candidateCountMax = 2_000

  /// The candidate with the smallest edit distance, if it is small enough to be meant; the first in order among equals.
  static func find(_ name: String, among candidates: some Sequence<String>) -> String? {
    let source = Array(name.lowercased().utf8.prefix(80))
    let distanceMax = max(1, min(3, source.count / 3))
    var best: (distance: Int, name: String)?
    for candidate in candidates.prefix(candidateCountMax) {
      let target = Array(candidate.lowercased().utf8.prefix(80))
      guard abs(target.count - source.count) <= distanceMax else { continue }
      let distance = editDistance(source, target)
      if distance <= distanceMax, best.map({ (distance, candidate) < $0 }) ?? true { best = (distance, candidate) }
    }
    return best?.name
  }

  /// Levenshtein's distance with neighbouring transpositions. O(n * m) time, O(m) space.
  static func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
    var beforePrevious = [Int](repeating: 0, count: b.count + 1)
    var previous = Array(0...b.count)
    var current = previous
    for i in 0..<a.count {
      current[0] = i + 1
      for j in 0..<b.count {
        current[j + 1] = min(previous[j + 1] + 1, current[j] + 1, previous[j] + (a[i] == b[j] ? 0 : 1))
        if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] {
          current[j + 1] = min(current[j + 1], beforePrevious[j - 1] + 1)
        }
      }
      (beforePrevious, previous, current) = (previous, current, beforePrevious)
    }
    return previous[b.count]
  }
}
