select
    id,
    name,
    description,
    state,
    created_time,
    created_by,
    modified_time,
    modified_by,
    fs_link_id,
    is_user_defined,
    -- The only time of it that the feed tells.
    modified_time as processed_time,
    updated_time
from {{ ref('page_definitions') }}
