{{ config(enabled=var('managed_events') is none) }}

select
    kind,
    id,
    name,
    description,
    state,
    valid_from,
    lead(valid_from) over (
        partition by kind, id
        order by valid_from
    ) as valid_until,
    modified_time,
    modified_by,
    rule_json
from {{ ref('definition_versions') }}
