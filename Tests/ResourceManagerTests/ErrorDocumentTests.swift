// docs/errors.md says of every code what it means, and of no other.

import Identity
import OCI
import ResourceManager
import TestSupport
import Testing

@Suite struct ErrorDocumentTests {
    /// The codes below a heading, with the statuses they travel with.
    private static func codes(_ heading: String) throws -> [(code: String, statuses: [Int])] {
        try Document("docs/errors.md").rows(below: heading).map { row in
            try #require(row.count == 4 && row.allSatisfy { !$0.isEmpty }, "\(row)")
            let statuses = row[1].split(separator: ",").compactMap { Int($0.filter(\.isNumber)) }
            #expect(!statuses.isEmpty && statuses.allSatisfy { (400..<600).contains($0) }, "\(row)")
            return (row[0].filter { $0 != "`" }, statuses)
        }
    }

    @Test("R1 every code of the data plane is in docs/errors.md with its status, cause and next step, and no other is")
    func dataPlane() throws {
        let written = try Self.codes("Registries")
        #expect(written.map(\.code).sorted() == ErrorCode.allCases.map(\.rawValue).sorted())
        for (code, statuses) in written { #expect(statuses.first == ErrorCode(rawValue: code)?.status, "\(code)") }
        #expect(try Self.codes("Leases").map(\.code).sorted() == LeaseRefusal.Code.allCases.map(\.rawValue).sorted())
    }

    @Test("A3 every code of the resource manager is in docs/errors.md with its status, cause and next step, and no other is")
    func management() throws {
        let written = try Self.codes("Management")
        #expect(written.map(\.code).sorted() == ResourceError.Code.allCases.map(\.rawValue).sorted())
    }
}
