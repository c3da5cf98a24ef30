// The `$filter` of directory lists: the part of OData that clients of the directory send.

internal import Persistence

/// Comparisons joined by `and`.
///
/// Understood are `name eq 'value'`, `startswith(name,'value')` and `names/any(c:c eq 'value')`. Anything else is refused
/// rather than ignored: a list that is longer than what was asked for would be taken for the answer.
package struct DirectoryFilter: Sendable {
    enum Comparison: Sendable, Hashable {
        case equal, prefix
    }

    struct Clause: Sendable, Hashable {
        let property: String
        let comparison: Comparison
        let value: String
    }

    let clauses: [Clause]

    /// - Throws: ``IdentityError`` with code `invalidName`.
    package init(_ text: String) throws(IdentityError) {
        var scanner = Scanner(text: text.prefix(4096))
        var clauses: [Clause] = []
        repeat { clauses.append(try scanner.clause()) } while try scanner.and()
        self.clauses = clauses
    }

    /// Reads from the front of what is left.
    private struct Scanner {
        var text: Substring

        private func refusal() -> IdentityError {
            IdentityError(
                .invalidName,
                "Unsupported or invalid query filter clause at '\(self.text.prefix(80))'. Use NAME eq 'VALUE', startswith(NAME,'VALUE') or "
                    + "NAMES/any(c:c eq 'VALUE'), joined by 'and'")
        }

        private mutating func skipBlanks() { self.text = self.text.drop { $0 == " " } }

        private mutating func accept(_ word: String) -> Bool {
            self.skipBlanks()
            guard self.text.lowercased().hasPrefix(word) else { return false }
            self.text = self.text.dropFirst(word.count)
            return true
        }

        private mutating func require(_ word: String) throws(IdentityError) {
            guard self.accept(word) else { throw self.refusal() }
        }

        private mutating func name() throws(IdentityError) -> String {
            self.skipBlanks()
            let name = self.text.prefix { $0.isLetter || $0.isNumber || $0 == "_" }
            guard !name.isEmpty else { throw self.refusal() }
            self.text = self.text.dropFirst(name.count)
            return name.lowercased()
        }

        /// `'…'` with doubled quotes, or a bare `true` or `false`.
        private mutating func value() throws(IdentityError) -> String {
            self.skipBlanks()
            for word in ["true", "false"] where self.accept(word) { return word }
            guard self.text.first == "'" else { throw self.refusal() }
            var rest = self.text.dropFirst()
            var value = ""
            while let character = rest.first {
                rest = rest.dropFirst()
                if character == "'" {
                    guard rest.first == "'" else {
                        self.text = rest
                        return value
                    }
                    rest = rest.dropFirst()
                }
                value.append(character)
            }
            throw self.refusal()
        }

        mutating func clause() throws(IdentityError) -> Clause {
            if self.accept("startswith(") {
                let property = try self.name()
                try self.require(",")
                let value = try self.value()
                try self.require(")")
                return Clause(property: property, comparison: .prefix, value: value)
            }
            let property = try self.name()
            if self.text.first == "/" {
                try self.require("/any(")
                let variable = try self.name()
                try self.require(":")
                guard try self.name() == variable else { throw self.refusal() }
                try self.require("eq ")
                let value = try self.value()
                try self.require(")")
                return Clause(property: property, comparison: .equal, value: value)
            }
            try self.require("eq ")
            return Clause(property: property, comparison: .equal, value: try self.value())
        }

        mutating func and() throws(IdentityError) -> Bool {
            self.skipBlanks()
            if self.text.isEmpty { return false }
            try self.require("and ")
            return true
        }
    }
}

/// A page of a directory list.
package struct DirectoryPage: Sendable {
    package let objects: [DirectoryObject]
    /// Where the next page begins; `nil` on the last one.
    package let next: Int64?
}

/// The lists there are.
package enum DirectoryList: String, Sendable, CaseIterable {
    case applications, servicePrincipals, users, groups

    /// Columns in which a property is looked for; several where the property has several values.
    fileprivate func columns(of property: String) -> [String]? {
        switch (self, property) {
        case (_, "id"): ["object_id"]
        case (_, "displayname"): ["display_name"]
        case (.applications, "appid"), (.servicePrincipals, "appid"): ["app_id"]
        case (.servicePrincipals, "serviceprincipalnames"): ["app_id"]
        // Applications have no identifier URIs here.
        case (.applications, "identifieruris"): []
        case (.servicePrincipals, "serviceprincipaltype"): ["kind"]
        case (.users, "userprincipalname"), (.users, "mail"): ["name"]
        case (.users, "mailnickname"), (.groups, "mailnickname"): ["mail_nickname"]
        default: nil
        }
    }
}

extension Directory {
    package static let maximumPage = 999

    /// A page of a list, in the order in which objects were made.
    ///
    /// - Parameter start: the ``DirectoryPage/next`` of the page before.
    /// - Throws: ``IdentityError`` with code `invalidName` for a filter by what cannot be filtered by.
    package func list(_ list: DirectoryList, filter: DirectoryFilter?, start: Int64?, count: Int) async throws -> DirectoryPage {
        var conditions = ["rowid > ?"]
        var arguments: [SQLValue] = [.integer(start ?? 0)]
        for clause in filter?.clauses ?? [] {
            guard let columns = list.columns(of: clause.property) else {
                throw IdentityError(.invalidName, "Unsupported property '\(clause.property)' in the filter of \(list.rawValue)")
            }
            let comparisons = columns.map { column in
                switch clause.comparison {
                case .equal: "\(column) = ? COLLATE NOCASE"
                case .prefix: "substr(\(column), 1, length(?)) = ? COLLATE NOCASE"
                }
            }
            conditions.append(comparisons.isEmpty ? "0" : "(" + comparisons.joined(separator: " OR ") + ")")
            for _ in columns {
                arguments += Array(repeating: .text(clause.value), count: clause.comparison == .prefix ? 2 : 1)
            }
        }
        let select: String
        let make: @Sendable (SQLRow) -> DirectoryObject
        switch list {
        case .applications: (select, make) = (Self.selectApplication, { .application(Self.application($0)) })
        case .servicePrincipals: (select, make) = (Self.select, { .servicePrincipal(Self.principal($0)) })
        case .users: (select, make) = (Self.selectUser, { .user(Self.user($0)) })
        case .groups: (select, make) = (Self.selectGroup, { .group(Self.group($0)) })
        }
        let size = min(max(count, 1), Self.maximumPage)
        let sql =
            select.replacing(" FROM ", with: ", rowid FROM ") + " WHERE " + conditions.joined(separator: " AND ")
            + " ORDER BY rowid LIMIT \(size + 1)"
        return try await self.database.read { [arguments] session in
            let rows = try session.rows(sql, arguments)
            return DirectoryPage(
                objects: rows.prefix(size).map(make),
                next: rows.count > size ? rows[size - 1].values.last.flatMap { if case .integer(let id) = $0 { id } else { nil } } : nil)
        }
    }
}
