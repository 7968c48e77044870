select
    id,
    name,
    description,
    state,
    created_time,
    created_by,
    modified_time,
    modified_by,
    updated_time
from {{ ref('event_definitions') }}
