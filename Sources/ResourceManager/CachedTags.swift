// Which tags a cache rule has set, kept by the database itself: no program can be killed between a tag and what is noted about it.

internal import Persistence

/// The step of the schema that notes in the transaction of a change whose a tag is; the change log names who made each change.
enum CachedTags {
    /// What the change log gives as the origin of what a rule fetches.
    static func origin(ofRule name: String) -> String { "cache:\(name)" }

    private static let isByRule = "substr(NEW.origin, 1, 6) = 'cache:'"
    private static let ofChange = "registry = NEW.registry AND repository = NEW.repository"

    static let migration = Migration(
        "resource-5-cached-tags-by-log",
        [
            // Whoever moves or removes a tag makes it theirs, even when it comes to name once more what the rule had set.
            """
            CREATE TRIGGER cached_tag_left AFTER INSERT ON change
                WHEN NEW.kind IN ('tag-set', 'tag-deleted') AND NOT \(isByRule)
            BEGIN DELETE FROM cached_tag WHERE \(ofChange) AND tag = NEW.tag; END
            """,
            """
            CREATE TRIGGER cached_tag_gone AFTER INSERT ON change WHEN NEW.kind = 'repository-deleted'
            BEGIN DELETE FROM cached_tag WHERE \(ofChange); END
            """,
            """
            CREATE TRIGGER cached_tag_set AFTER INSERT ON change WHEN NEW.kind = 'tag-set' AND \(isByRule)
            BEGIN
                DELETE FROM cached_tag WHERE \(ofChange) AND tag = NEW.tag;
                INSERT INTO cached_tag (registry, repository, tag, digest) VALUES (NEW.registry, NEW.repository, NEW.tag, NEW.digest);
            END
            """,
            // Tags from before, as far back as the log reaches: those that a rule was the last to set.
            """
            INSERT OR REPLACE INTO cached_tag (registry, repository, tag, digest)
                SELECT registry, repository, tag, digest FROM change
                WHERE sequence IN (SELECT max(sequence) FROM change WHERE kind IN ('tag-set', 'tag-deleted') GROUP BY registry, repository, tag)
                    AND kind = 'tag-set' AND substr(origin, 1, 6) = 'cache:' AND registry IN (SELECT id FROM registry)
            """,
        ], isAdditive: true)
}
