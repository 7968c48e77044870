{{ config(materialized='view') }}

select
    value_id,
    definition_id,
    page
from {{ whole_matches() }} as matches
where kind = 'page'
