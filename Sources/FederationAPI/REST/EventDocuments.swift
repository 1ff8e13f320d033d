/// One line of a workflow's or a cluster's history.
public struct EventDocument: Hashable, Sendable, Codable {
  /// Grows with time; the database's number.
  public var id: Int64
  public var at: WireTime
  /// The node's place in its workflow.
  public var node: Int32?
  public var cluster: String?
  /// A CamelCase word: `Submitted`, `RunLost`, `ClusterOffline`.
  public var reason: String
  public var message: String
  public init(id: Int64, at: WireTime, node: Int32?, cluster: String?, reason: String, message: String) {
    self.id = id
    self.at = at
    self.node = node
    self.cluster = cluster
    self.reason = reason
    self.message = message
  }
}

public struct EventList: Hashable, Sendable, Codable {
  /// Oldest first.
  public var items: [EventDocument]
  /// Pass as `continue` for the next page; nil on the last one.
  public var next: String?
  public init(items: [EventDocument], next: String? = nil) {
    self.items = items
    self.next = next
  }
}

/// The data of one message of a workflow's event stream: what changed since the message before.
///
/// The stream is level-triggered: several changes of one node may arrive as its last state alone. The message's `id` names the
/// place in the workflow's history, and of several messages in a row the last may alone have one; a client that comes back
/// with it in `Last-Event-ID`, at any replica, gets what it may not have got. A place that the database does not know (it was
/// restored) is answered by `event: resync` and then everything.
public struct WatchDocument: Hashable, Sendable, Codable {
  public var workflow: WorkflowSummary
  /// Created or changed, in creation order.
  public var nodes: [NodeDocument]
  public var events: [EventDocument]
  public init(workflow: WorkflowSummary, nodes: [NodeDocument], events: [EventDocument]) {
    self.workflow = workflow
    self.nodes = nodes
    self.events = events
  }
}

/// The data of the message that comes before everything is told again (`event: resync`): what was known may be forgotten.
public struct StreamResyncDocument: Hashable, Sendable, Codable {
  /// Why, for people.
  public var reason: String
  public init(reason: String) { self.reason = reason }
}

/// The data of the last message of any stream of ours (`event: end`).
public struct StreamEndDocument: Hashable, Sendable, Codable {
  /// `finished` (nothing more will come), `deleted`, `shutdown` (come back), `slow` (the client did not read; come back).
  public var reason: String
  public init(reason: String) { self.reason = reason }
}

/// The data of one message of a log stream (`event: log`); the message's `id` is the offset of the byte after it.
public struct LogDocument: Hashable, Sendable, Codable {
  /// Of the first byte of `content`.
  public var offset: Int64
  /// Bytes that are no UTF-8 are shown as U+FFFD; then `base64` has them as they are.
  public var content: String
  /// The same bytes, exactly; only there when they are no UTF-8. The plain-text form of the stream always keeps them.
  public var base64: String?
  public init(offset: Int64, content: String, base64: String? = nil) {
    self.offset = offset
    self.content = content
    self.base64 = base64
  }
}

/// Who changed what.
public struct AuditDocument: Hashable, Sendable, Codable {
  public var id: Int64
  public var at: WireTime
  public var actor: String
  /// Dotted words: `cluster.cordon`.
  public var action: String
  public var object: String
  public var detail: String
  /// Where the request came from; empty when nobody knows, nil from an earlier release.
  public var address: String?
  /// It was refused: `action` is the route that was asked.
  public var isDenied: Bool?
  public init(
    id: Int64, at: WireTime, actor: String, action: String, object: String, detail: String, address: String? = nil,
    isDenied: Bool? = nil
  ) {
    self.id = id
    self.at = at
    self.actor = actor
    self.action = action
    self.object = object
    self.detail = detail
    self.address = address
    self.isDenied = isDenied
  }
}

public struct AuditList: Hashable, Sendable, Codable {
  /// Newest first.
  public var items: [AuditDocument]
  public var next: String?
  public init(items: [AuditDocument], next: String? = nil) {
    self.items = items
    self.next = next
  }
}
