-- The database of edge-scorer, schema version 2. Fresh databases are made from this file; older ones are brought to the same
-- state by the files in migrations/. Comments stand inside the statements, so that `sqlite3 FILE .schema` shows them.
-- All times are UTC, ISO 8601 with milliseconds and Z. Tables are not STRICT and nothing newer than SQLite 3.25 is used, so that
-- the sqlite3 programs of older Jetson images can read the file.

CREATE TABLE image (
    -- One row for every distinct image, whatever the number of its copies and names.
    id             INTEGER PRIMARY KEY,
    content_id     TEXT NOT NULL UNIQUE CHECK (length(content_id) = 64), -- BLAKE3 of the file's bytes, lower-case hex
    size_bytes     INTEGER NOT NULL,
    format         TEXT NOT NULL,     -- jpeg, png, webp
    width_px       INTEGER NOT NULL,  -- after the EXIF orientation is applied
    height_px      INTEGER NOT NULL,
    captured_at    TEXT,              -- as the image's metadata say; NULL where they do not
    brightness     REAL,              -- luma of the picture as decoded (large JPEGs at 1/2, 1/4 or 1/8): mean, 0..1
    contrast       REAL,              -- its standard deviation
    sharpness      REAL,              -- standard deviation of its Laplacian
    added_at       TEXT NOT NULL,     -- when this device first saw it
    encoder_digest TEXT,              -- names the image encoder and input rule that made the embedding (sha256)
    embedding      BLOB,              -- little-endian f16 values, not normalised; last, so that other columns are read without it
    CHECK ((embedding IS NULL) = (encoder_digest IS NULL))
);
-- Whose embeddings a model can use.
CREATE INDEX image_by_encoder ON image (encoder_digest);

CREATE TABLE file (
    -- The places where an image has been found.
    path           TEXT NOT NULL PRIMARY KEY, -- absolute; a BLOB of the raw bytes where the name is not UTF-8
    image_id       INTEGER NOT NULL REFERENCES image (id),
    size_bytes     INTEGER NOT NULL,  -- with mtime_ns: the file as it was when it was scored
    mtime_ns       INTEGER NOT NULL,  -- nanoseconds since 1970
    state          TEXT NOT NULL CHECK (state IN ('present', 'missing', 'offline')), -- offline: its directory is not mounted
    seen_at        TEXT NOT NULL      -- when this row last changed: found new, changed, gone or back
) WITHOUT ROWID;
-- The smallest present path of an image.
CREATE INDEX file_by_image ON file (image_id, state);

CREATE TABLE tag (
    -- The texts that say what an image is meant to show.
    id             INTEGER PRIMARY KEY,
    text           TEXT NOT NULL UNIQUE -- as it was first written; `= 'birds' COLLATE NOCASE` finds it in any case
);
-- A tag in other capitals is the same tag.
CREATE UNIQUE INDEX tag_in_any_case ON tag (text COLLATE NOCASE);

CREATE TABLE image_tag (
    -- Which tags apply to an image, and why.
    image_id       INTEGER NOT NULL REFERENCES image (id),
    tag_id         INTEGER NOT NULL REFERENCES tag (id),
    reason         TEXT NOT NULL CHECK (reason IN ('keyword', 'directory', 'similarity', 'manual', 'default')),
    confidence     REAL,              -- 0..1 where the reason has one
    PRIMARY KEY (image_id, tag_id, reason)
) WITHOUT ROWID;

CREATE TABLE model (
    -- The models that have scored here. Scores of different models are never ranked together.
    id             INTEGER PRIMARY KEY,
    digest         TEXT NOT NULL UNIQUE, -- sha256 of the bundle's manifest
    name           TEXT NOT NULL,
    manifest       TEXT NOT NULL,     -- the manifest itself, JSON
    encoder_digest TEXT NOT NULL,     -- names its image encoder and input rule (sha256)
    device         TEXT NOT NULL,     -- where it ran last: cpu, cuda
    precision      TEXT NOT NULL,     -- what it computed in there: f32, f16
    device_reason  TEXT NOT NULL,     -- why there
    first_used_at  TEXT NOT NULL,
    current        INTEGER NOT NULL CHECK (current IN (0, 1)) -- 1: the model in use
);
-- At most one model is in use.
CREATE UNIQUE INDEX model_current ON model (current) WHERE current = 1;

CREATE TABLE score (
    -- The quality of an image under a tag, as one model sees it.
    image_id       INTEGER NOT NULL REFERENCES image (id),
    tag_id         INTEGER NOT NULL REFERENCES tag (id),
    model_id       INTEGER NOT NULL REFERENCES model (id),
    score          REAL NOT NULL,     -- on the model's scale
    similarity     REAL,              -- cosine of image and tag embedding, -1..1
    percentile     REAL,              -- share of the tag's reference scores below this one, 0..100
    scored_at      TEXT NOT NULL,
    PRIMARY KEY (image_id, tag_id, model_id)
) WITHOUT ROWID;
-- The best images of a tag, in order.
CREATE INDEX score_by_rank ON score (tag_id, model_id, score DESC, image_id);

CREATE TABLE failure (
    -- The files that could not be scored. A row goes away when its file is scored.
    path           TEXT NOT NULL PRIMARY KEY, -- as in file
    stage          TEXT NOT NULL,     -- what failed: read, decode, infer and the like
    error          TEXT NOT NULL,
    attempts       INTEGER NOT NULL,
    next_retry_at  TEXT,              -- NULL when quarantined
    quarantined    INTEGER NOT NULL CHECK (quarantined IN (0, 1)), -- 1: not tried again until asked or until the file changes
    size_bytes     INTEGER NOT NULL,  -- with mtime_ns: the file as it was when it failed
    mtime_ns       INTEGER NOT NULL,
    first_failed_at TEXT NOT NULL,
    last_failed_at TEXT NOT NULL,
    CHECK ((next_retry_at IS NULL) = quarantined)
) WITHOUT ROWID;
-- The failures whose time has come.
CREATE INDEX failure_due ON failure (next_retry_at) WHERE quarantined = 0;

CREATE VIEW top_images AS
    -- The images that are present, best first within each tag, as the current model scores them. For example:
    --   SELECT rank, score, path FROM top_images WHERE tag = 'birds' AND rank <= 10 ORDER BY rank;
    SELECT
        t.text AS tag,
        row_number() OVER (PARTITION BY t.text ORDER BY s.score DESC, s.image_id) AS rank,
        s.score AS score,
        s.percentile AS percentile,
        -- One of the image's paths: the smallest that is present.
        (SELECT min(f.path) FROM file AS f WHERE f.image_id = s.image_id AND f.state = 'present') AS path,
        s.similarity AS similarity,
        i.content_id AS content_id,
        i.captured_at AS captured_at,
        s.scored_at AS scored_at,
        m.name AS model,
        m.digest AS model_digest
    FROM tag AS t
    CROSS JOIN model AS m -- CROSS: in this order every tag is read from its index, best first
    CROSS JOIN score AS s
    CROSS JOIN image AS i
    WHERE m.current = 1 AND s.tag_id = t.id AND s.model_id = m.id AND i.id = s.image_id
        AND EXISTS (SELECT 1 FROM file AS f WHERE f.image_id = s.image_id AND f.state = 'present');
