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
    updated_time
from {{ ref('page_definitions') }}
