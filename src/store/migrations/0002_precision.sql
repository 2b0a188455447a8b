-- Schema version 2: a model says what it was computed in. The table is made anew, so that `.schema` shows it with its comments.

CREATE TEMP TABLE kept AS SELECT * FROM model;
DROP TABLE model;

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

INSERT INTO model (id, digest, name, manifest, encoder_digest, device, precision, device_reason, first_used_at, current)
SELECT id, digest, name, manifest, encoder_digest, device, 'f32', device_reason, first_used_at, current FROM kept;
DROP TABLE kept;

-- At most one model is in use.
CREATE UNIQUE INDEX model_current ON model (current) WHERE current = 1;
