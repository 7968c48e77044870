{{ config(
    unique_key='event_id',
    meta={'prune_by_batch_day': 'device_time'},
    post_hook="{{ delete_stale('event_id', ref('event_batch'), batch_days('device_time'), 'device_time') }}",
    **layout('device_time', filter_by='event_time', join_by='device_id')
) }}

{#- After it: what finds where int_parsed_events has an event of a wrong clock, asks this table. -#}
{%- do ref('int_parsed_events') -%}
{%- set event_batch = ref('event_batch') -%}
{#- Mostly there are none, and then no JSON is read. -#}
{%- set days_of_wrong_clocks -%}
select distinct
    {{ utc_day('events.event_time') }} as first_day,
    {{ utc_day('events.event_time') }} as last_day
from {{ ref('events') }} as events
inner join {{ event_batch }} as batch on events.event_id = batch.event_id
where
    {{ has_wrong_clock('events') }}
    and {{ batch_days('events.event_time') }}
{%- endset %}

select
    events.event_id,
    events.event_time as device_time,
    {{ believed_time('events') }} as event_time,
    events.processed_time,
    events.updated_time,
    events.device_id,
    events.session_id,
    events.view_id,
    events.event_type,
    events.event_properties,
    events.source_type,
    events.source_properties,
    '{{ invocation_id }}' as _invocation_id
from {{ ref('events') }} as events
{%- if is_incremental() %}
inner join {{ event_batch }} as batch
    on
        events.event_id = batch.event_id
        and {{ day_ranges('events.event_time', days_of_wrong_clocks) }}
{%- endif %}
where
    events.event_type is not null
    and {{ has_wrong_clock('events') }}
    and {{ is_counted('events') }}
    and {{ unless_skipped('events', ['_source_event_id']) }}
