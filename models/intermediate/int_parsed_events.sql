{{ config(
    unique_key='event_id',
    meta={'prune_by_touched_day': 'event_time'},
    post_hook="{{ delete_rows(no_longer_live(), 'event_time') }}",
    **layout('event_time', filter_by='event_type', join_by='full_session_id')
) }}

{#- Once it is merged, nothing says any more where an event was before. -#}
{%- do ref('touched') -%}
{%- set event_batch, batch_loads = ref('event_batch'), ref('batch_loads') -%}
{%- set source_columns = catalogue_columns('source_properties') -%}
{%- set event_columns = event_columns() -%}
{%- set source_paths = property_paths(source_columns) -%}
{%- set event_paths = ['event_definition_id', 'target.element_definition_id'] + property_paths(event_columns) %}

with live as (
    select
        events.*,
        {{ json_texts('events.event_properties', event_paths) | indent(8) }} as event_texts,
        {{ json_texts('events.source_properties', source_paths) | indent(8) }} as source_texts
    from {{ ref('events') }} as events
    {%- if is_incremental() %}
    inner join {{ event_batch }} as batch on events.event_id = batch.event_id
    {%- endif %}
    where
        {{ is_live('events') }}
    {%- if is_incremental() %}
        and {{ batch_rows('events', ref('events'), 'event_id') }}
        {%- if not var('managed_events') %}
        -- What came once more changed nothing.
        and (
            events._changed_load_id in (select loads.load_id from {{ batch_loads }} as loads)
            {%- if requests() %}
            or ({{ is_requested('events') }})
            {%- endif %}
            {%- if made_by_loader('skipped') %}
            -- What was left out comes back as it was.
            or events.event_id not in (
                select parsed.event_id from {{ this }} as parsed where {{ in_touched_days('parsed.event_time') }}
            )
            {%- endif %}
        )
        {%- endif %}
    {%- endif %}
),

parsed as (
    select
        live.event_id,
        {{ believed_time('live') | indent(4) }} as event_time,
        live.processed_time,
        live.updated_time,
        live.device_id,
        live.session_id,
        {{ full_session_id('live') }} as full_session_id,
        live.view_id,
        live.event_type,
        live.source_type,
        {{ json_texts_item('live.event_texts', event_paths, 'event_definition_id') }} as event_definition_id,
        {{ json_texts_item('live.event_texts', event_paths, 'target.element_definition_id') }} as element_definition_id,
        {{ json_object('live.event_properties', 'target.element_properties') }} as element_properties,
        case
            when live.event_type = 'page_properties' then {{ json_object('live.event_properties', 'page_properties') }}
            else {{ json_object('live.source_properties', 'page_properties') }}
        end as page_properties,
        {%- for column in source_columns %}
        {{ property('live.source_properties', column, 'live.source_texts', source_paths) }} as {{ column.name }},
        {%- endfor %}
        {%- for column in event_columns %}
        {{ property('live.event_properties', column, 'live.event_texts', event_paths) }} as {{ column.name }},
        {%- endfor %}
        case
            when {{ json_texts_item('live.event_texts', event_paths, 'event_definition_id') }} is not null
                then {{ json_object('live.event_properties', 'additional_event_definition_ids') }}
        end as additional_event_definition_ids,
        live._page_stamp,
        live._element_stamp,
        live._event_stamp
    from live
),

located as (
    select
        parsed.*,
        {{ page_host() | indent(8) }} as page_host,
        {{ page_path() | indent(8) }} as page_path,
        {{ screen_name() | indent(8) }} as screen_name
    from parsed
),

paged as (
    select
        located.*,
        {{ page_label() | indent(8) }} as page_label,
        {{ undefined_page_id() | indent(8) }} as undefined_page_id
    from located
)

select
    paged.*,
    coalesce(page_definition_id, undefined_page_id) as page_id,
    {{ page_value_id() | indent(4) }} as page_value_id,
    {{ element_value_id() | indent(4) }} as element_value_id,
    {{ is_bot('user_agent_raw_user_agent') }} as is_bot,
    {{ is_internal('location_ip_address', 'url_host') }} as is_internal,
    '{{ invocation_id }}' as _invocation_id
from paged
{%- if is_incremental() %}
{{ rows_ordered_by('event_time') }}
{%- else %}
-- In the order of events.
{%- endif %}
