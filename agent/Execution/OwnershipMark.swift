/// The mark that an agent's jobs carry in systems that are not its own (I7): eight hexadecimal digits.
///
/// It is of the federation and of the cluster, because two agents of one federation may share a Slurm and a user, or a namespace.
package enum OwnershipMark {
  package static func text(federationID: String, cluster: String) -> String {
    // FNV-1a, 32 bits.
    var sum: UInt32 = 0x811c_9dc5
    for byte in federationID.utf8 + [0] + cluster.utf8 { sum = (sum ^ UInt32(byte)) &* 0x0100_0193 }
    let digits = String(sum, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }
}
