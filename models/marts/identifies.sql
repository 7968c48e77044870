select
    event_id,
    event_time,
    updated_time,
    processed_time,
    device_id,
    session_id,
    view_id,
    source_type,
    user_id,
    user_email,
    user_display_name,
    user_properties
from {{ ref('int_identifies') }}
