select
    event_id,
    event_time,
    updated_time,
    processed_time,
    cast(device_id as {{ dbt.type_string() }}) as device_id,
    cast(session_id as {{ dbt.type_string() }}) as session_id,
    cast(view_id as {{ dbt.type_string() }}) as view_id,
    source_type,
    user_id,
    user_email,
    user_display_name,
    user_properties,
    row_number() over (
        partition by user_id
        order by event_time desc nulls last, processed_time desc nulls last, event_id desc
    ) as event_seq_num_desc
from {{ ref('int_identifies') }}
