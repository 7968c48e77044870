{{ config(
    unique_key='conversion_id',
    meta={'prune_by_touched_day': 'event_time'},
    post_hook="{{ delete_stale('event_id', ref('event_batch'), in_touched_days('event_time'), 'event_time') }}",
    **layout('event_time', filter_by='conversion_name', join_by='full_session_id')
) }}

{#- Of an event alone, so that what an hour did not bring is not read again. -#}
{%- do ref('touched') -%}
{%- set event_batch = ref('event_batch') -%}
{%- set conversions = conversions_of_events() %}

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
),
{% if conversions | selectattr('event_definition') | list %}
others as (
    select
        events.event_id,
        {{ json_item() }} as event_definition_id
    from events
    {{ json_items('events', 'additional_event_definition_ids') | indent(4) }}
),
{% endif %}
converting as (
    select
        names.conversion_name,
        events.event_id,
        events.event_time,
        events.device_id,
        events.full_session_id,
        {%- for conversion in conversions if conversion.value %}
        {{- ' case' if loop.first }}
            when names.conversion_name = {{ text_literal(conversion.name) }}
                then {{ json_number('events.event_properties', conversion.value) }}
        {%- if loop.last %}
        end
        {%- endif %}
        {%- else %}
        cast(null as {{ warehouse_type('double') }})
        {%- endfor %} as value,
        events.page_definition_id,
        events.undefined_page_id,
        events.page_value_id,
        events.page_label,
        events.is_bot
    from events
    cross join names
    where
        {%- for conversion in conversions %}
        {{ 'or ' if not loop.first }}(
            names.conversion_name = {{ text_literal(conversion.name) }}
            and {{ is_conversion(conversion, 'events', 'others') }}
        )
        {%- else %}
        1 = 0
        {%- endfor %}
)

select
    {{ hash_of(['conversion_name', 'event_id']) }} as conversion_id,
    conversion_name,
    event_id,
    event_time,
    device_id,
    full_session_id,
    value,
    page_definition_id,
    undefined_page_id,
    page_value_id,
    page_label,
    is_bot,
    '{{ invocation_id }}' as _invocation_id
from converting
