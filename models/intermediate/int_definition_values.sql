{{ config(unique_key='value_id') }}

{#- Small beside the events, and without days: what is new is found by its hash. -#}
{%- do ref('touched') -%}
{%- set event_batch = ref('event_batch') -%}
{%- set values_of = {'page': page_value(), 'element': element_value()} -%}
{%- set parts = ['url', 'screen', 'app', 'app_package_name', 'path', 'text'] %}

with events as (
    select parsed.*
    from {{ ref('int_parsed_events') }} as parsed
    {%- if is_incremental() %}
    inner join {{ event_batch }} as batch on parsed.event_id = batch.event_id
    where {{ in_touched_days('parsed.event_time') }}
    {%- endif %}
),

valued as (
    {%- for kind, value in values_of.items() %}
    select
        '{{ kind }}' as kind,
        {{ kind }}_value_id as value_id,
        {%- for part in parts %}
        {{ value[part] or 'cast(null as ' ~ warehouse_type('varchar') ~ ')' }} as {{ part }},
        {%- endfor %}
        coalesce(event_time, processed_time) as seen_time
    from events
    where {{ kind }}_value_id is not null
    {{ 'union all' if not loop.last }}
    {%- endfor %}
),

found as (
    select
        value_id,
        max(kind) as kind,
        {%- for part in parts %}
        max({{ part }}) as {{ part }},
        {%- endfor %}
        min(seen_time) as first_seen,
        max(seen_time) as last_seen
    from valued
    group by value_id
)

{% if is_incremental() -%}
select
    found.kind,
    found.value_id,
    {%- for part in parts %}
    found.{{ part }},
    {%- endfor %}
    case when known.first_seen < found.first_seen then known.first_seen else found.first_seen end as first_seen,
    case when known.last_seen > found.last_seen then known.last_seen else found.last_seen end as last_seen
from found
left join {{ this }} as known on found.value_id = known.value_id
where
    known.value_id is null
    or found.first_seen < known.first_seen
    or found.last_seen > known.last_seen
{%- else -%}
select
    kind,
    value_id,
    {%- for part in parts %}
    {{ part }},
    {%- endfor %}
    first_seen,
    last_seen
from found
{%- endif %}
