import Testing

@testable import KubernetesAPI

/// What comes next in a watch's life.
@Suite struct WatchStateTests {
  @Test func `A watch begins at a complete list's version, and goes on from the last that was seen`() {
    var state = WatchState()
    #expect(state.step == .list)
    state.listed("5")
    #expect(state.step == .watch(from: "5"))
    state.advanced(to: "9")
    #expect(state.ended(.finished, after: .seconds(60)) == 0)
    #expect(state.step == .watch(from: "9"))
  }

  @Test func `What breaks a connection costs no version`() {
    var state = WatchState()
    state.listed("5")
    for failure in 1..<WatchState.failuresBeforeList {
      #expect(state.ended(.failed("refused"), after: .zero) == failure)
      #expect(state.step == .watch(from: "5"))
    }
    _ = state.ended(.failed("refused"), after: .zero)
    #expect(state.step == .list)
  }

  @Test func `A forgotten version is followed by a list at once; by a pause when that is of no use`() {
    var state = WatchState()
    state.listed("5")
    #expect(state.ended(.expired, after: .zero) == 0)
    #expect(state.step == .list)
    state.listed("6")
    #expect(state.ended(.expired, after: .zero) == 1)
    state.listed("7")
    #expect(state.ended(.expired, after: .zero) == 2)
    state.listed("8")
    state.advanced(to: "9")
    #expect(state.ended(.expired, after: .zero) == 0)
  }

  @Test func `After an event that could not be read everything is listed again`() {
    var state = WatchState()
    state.listed("5")
    #expect(state.ended(.unreadable("?"), after: .seconds(3)) > 0)
    #expect(state.step == .list)
  }

  @Test func `A watch that ends at once is not begun again at once`() {
    var state = WatchState()
    state.listed("5")
    #expect(state.ended(.finished, after: .milliseconds(5)) == 1)
    #expect(state.ended(.finished, after: .milliseconds(5)) == 2)
    #expect(state.ended(.finished, after: .seconds(90)) == 0)
    #expect(state.failures == 0)
  }

  @Test func `Pauses grow to a bound, differ by chance, and are never shorter than what the server asks for`() {
    let backOff = BackOff(first: .milliseconds(100), most: .seconds(2))
    #expect(backOff.pause(failures: 1, random: 0) == .milliseconds(50))
    #expect(backOff.pause(failures: 1, random: 1) == .milliseconds(100))
    #expect(backOff.pause(failures: 3, random: 1) == .milliseconds(400))
    for failures in [6, 60, 10_000, .max] { #expect(backOff.pause(failures: failures, random: 1) == .seconds(2)) }
    #expect(backOff.pause(failures: 1, retryAfter: .seconds(7), random: 0) == .seconds(7))
    #expect(backOff.pause(failures: 9, retryAfter: .seconds(8), random: 1) == .seconds(12))
  }
}
