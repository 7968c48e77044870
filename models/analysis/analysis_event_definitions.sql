select
    id,
    name,
    description,
    state,
    created_time,
    created_by,
    modified_time,
    modified_by,
    -- The only time of it that the feed tells.
    modified_time as processed_time,
    updated_time
from {{ ref('event_definitions') }}
