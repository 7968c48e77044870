{{ config(
    unique_key='event_id',
    meta={'prune_by_touched_day': 'event_time'},
    post_hook="{{ delete_stale('event_id', ref('event_batch'), in_touched_days('event_time'), 'event_time') }}",
    **layout('event_time', filter_by='user_id', join_by='device_id')
) }}

{%- do ref('touched') -%}
{%- set event_batch = ref('event_batch') %}

select
    events.event_id,
    {{ believed_time('events') }} as event_time,
    events.updated_time,
    events.processed_time,
    events.device_id,
    events.session_id,
    events.view_id,
    events.source_type,
    {{ named_user(json_text('events.event_properties', 'user_id')) }} as user_id,
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
    and {{ is_late_enough(believed_time('events')) }}
    and {{ is_counted('events') }}
    and {{ unless_skipped('events', ['_source_event_id']) }}
