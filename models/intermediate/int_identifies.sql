{{ config(
    unique_key='event_id',
    meta={'prune_by_day': 'event_time'},
    post_hook="{{ delete_stale('event_id', ref('event_batch')) }}"
) }}

{%- set event_batch = ref('event_batch') %}

select
    events.event_id,
    events.event_time,
    events.updated_time,
    events.processed_time,
    events.device_id,
    events.session_id,
    events.view_id,
    events.source_type,
    {{ json_text('events.event_properties', 'user_id') }} as user_id,
    {{ json_text('events.event_properties', 'user_email') }} as user_email,
    {{ json_text('events.event_properties', 'user_display_name') }} as user_display_name,
    {{ json_object('events.event_properties', 'user_properties') }} as user_properties,
    '{{ invocation_id }}' as _invocation_id
from {{ ref('events') }} as events
{%- if is_incremental() %}
inner join {{ event_batch }} as batch
    on
        events.event_id = batch.event_id
        and {{ batch_days('events.event_time') }}
{%- endif %}
where
    events.event_type = 'identify'
    and {{ is_late_enough('events.event_time') }}
