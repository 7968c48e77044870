{{ config(materialized='view') }}

select
    value_id,
    page_definition_id,
    definition_id
from {{ landed('definition_matches') }} as matches
where
    kind = 'element'
    and is_current
    and is_best
    and definition_id is not null
