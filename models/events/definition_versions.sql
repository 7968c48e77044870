{{ config(unique_key=['kind', 'id', 'valid_from'], enabled=var('managed_events') is none) }}

{%- set kinds = {
    'page': ref('page_definitions'), 'element': ref('element_definitions'), 'event': ref('event_definitions')
} %}

with definitions as (
    {%- for kind, relation in kinds.items() %}
    select
        '{{ kind }}' as kind,
        id,
        updated_time as valid_from,
        name,
        description,
        state,
        modified_time,
        modified_by,
        _content as rule_json
    from {{ relation }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}
)

select definitions.*
from definitions
{%- if is_incremental() %}
left join {{ this }} as known
    on
        definitions.kind = known.kind
        and definitions.id = known.id
        and definitions.valid_from = known.valid_from
where known.id is null
{%- endif %}
