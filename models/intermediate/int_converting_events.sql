{{ config(
    unique_key='conversion_id',
    meta={'prune_by_touched_day': 'event_time'},
    post_hook="{{ delete_stale('event_id', ref('event_batch'), in_touched_days('event_time'), 'event_time') }}",
    **layout('event_time', filter_by='conversion_name', join_by='full_session_id')
) }}

{#- Of an event alone, so that what an hour did not bring is not read again. -#}
{%- do ref('touched') -%}
{%- set event_batch = ref('event_batch') -%}
{%- set conversions = conversions_of_events(counted_conversions()) %}

with events as (
    select parsed.*
    from {{ ref('int_parsed_events') }} as parsed
    {%- if is_incremental() %}
    inner join {{ event_batch }} as batch on parsed.event_id = batch.event_id
    {%- endif %}
    where
        {{ is_late_enough('parsed.event_time') }}
        {%- if is_incremental() %}
        and {{ in_touched_days('parsed.event_time') }}
        {%- endif %}
        {%- if not conversions %}
        and 1 = 0
        {%- endif %}
),

names as (
    {{ conversion_names(conversions) | indent(4) }}
)
{%- if conversions | selectattr('event_definition') | list %},

others as (
    {{ other_event_definitions() | indent(4) }}
)
{%- endif %}

select
    {{ hash_of(['names.conversion_name', 'events.event_id']) }} as conversion_id,
    names.conversion_name,
    events.event_id,
    events.event_time,
    events.device_id,
    events.full_session_id,
    {{ conversion_value(conversions) }} as value, -- noqa: RF04
    events.page_definition_id,
    events.undefined_page_id,
    events.page_value_id,
    events.page_label,
    events.is_bot,
    '{{ invocation_id }}' as _invocation_id
from events
cross join names
where
    {{ is_any_conversion(conversions) }}
