{% macro definitions(kind, more_columns=[]) -%}
{%- set batch_loads = ref('batch_loads') -%}
{%- set columns = [
    'id', 'name', 'description', 'state', 'created_time', 'created_by', 'modified_time', 'modified_by'
] + more_columns -%}
{%- set compared = columns[1:] + ['_content'] -%}
{%- set lowest_time = timestamptz('0001-01-01 00:00:00') -%}

with ranked as (
    select
        landed_rows.*,
        landed_rows.content as _content,
        row_number() over (
            partition by landed_rows.id
            order by
                -- Those of a definitions.yml are as it is now, whatever their times say.
                case when landed_rows.content is not null then landed_rows._dlt_load_id end desc nulls last,
                landed_rows.modified_time desc nulls last,
                landed_rows._dlt_load_id desc,
                landed_rows._file desc,
                landed_rows._position desc
        ) as version_rank
    from {{ landed('raw_definitions') }} as landed_rows
    inner join {{ batch_loads }} as loads on landed_rows._dlt_load_id = loads.load_id
    where
        landed_rows.kind = '{{ kind }}'
        and {{ unless_skipped('landed_rows', ['_file']) }}
)

select
    {%- for column in columns %}
    ranked.{{ column }},
    {%- endfor %}
    {{ now() }} as updated_time,
    ranked._content,
    ranked._dlt_load_id as _load_id
from ranked
{%- if is_incremental() %}
left join {{ this }} as existing on ranked.id = existing.id
{%- endif %}
where
    ranked.version_rank = 1
    {%- if is_incremental() %}
    and (
        existing.id is null
        or (
            (
                ranked._content is not null
                or (
                    existing._content is null
                    and coalesce(ranked.modified_time, {{ lowest_time }})
                    >= coalesce(existing.modified_time, {{ lowest_time }})
                )
            )
            and (
                {%- for column in compared %}
                {{ differs('ranked.' ~ column, 'existing.' ~ column) }}
                {%- if not loop.last %} or{% endif %}
                {%- endfor %}
            )
        )
    )
    {%- endif %}
{%- endmacro %}


{% macro own_definitions(kind) -%}
    (
        select id
        from {{ ref(kind ~ '_definitions') }}
        where _content is not null and coalesce(state, 'active') <> 'archived'
    )
{%- endmacro %}


{% macro definitions_as_of() -%}
    {%- set as_of = var('definitions_as_of') -%}
    {%- if as_of not in ('today', 'stamped') -%}
        {%- do exceptions.raise_compiler_error('definitions_as_of is today or stamped, not ' ~ as_of) -%}
    {%- endif -%}
    {{ return(as_of) }}
{%- endmacro %}


{% macro with_page(rows, prefix='', as_of=none, stamped=true) -%}
    {%- if (as_of or definitions_as_of()) == 'today' -%}
left join {{ ref('int_page_matches') }} as {{ prefix }}page
    on {{ rows }}.{{ prefix }}page_value_id = {{ prefix }}page.value_id
    {%- if stamped %}
left join {{ own_definitions('page') }} as {{ prefix }}own_page
    on {{ rows }}.{{ prefix }}page_definition_id = {{ prefix }}own_page.id
    {%- endif -%}
    {%- endif -%}
{%- endmacro %}


{% macro current_page_definition_id(rows, prefix='', as_of=none) -%}
    {%- set stamped = rows ~ '.' ~ prefix ~ 'page_definition_id' -%}
    {%- if (as_of or definitions_as_of()) == 'today' -%}
        coalesce({{ prefix }}page.definition_id, case when {{ prefix }}own_page.id is null then {{ stamped }} end)
    {%- else -%}
        {{ stamped }}
    {%- endif -%}
{%- endmacro %}


{% macro page_by_rule(prefix='', as_of=none) -%}
    {%- if (as_of or definitions_as_of()) == 'today' -%}
        {{ prefix }}page.page
    {%- else -%}
        cast(null as {{ warehouse_type('varchar') }})
    {%- endif -%}
{%- endmacro %}


{% macro page_of_group(host='url_host', path='url_path') -%}
    coalesce(current_definition_id, page_by_rule, undefined_page_id) as page_id,
        max(current_definition_id) as page_definition_id,
        max(case when current_definition_id is null then page_label end) as page_label,
        max(case when current_definition_id is null then {{ host }} end) as url_host,
        max(
            case
                when current_definition_id is not null then null
                when page_by_rule is null then {{ path }}
                when substr(page_by_rule, 1, {{ dbt.length(host) }}) = {{ host }}
                    then substr(page_by_rule, {{ dbt.length(host) }} + 1)
            end
        ) as url_path
{%- endmacro %}


{% macro with_element(rows, as_of=none) -%}
    {%- if (as_of or definitions_as_of()) == 'today' -%}
left join {{ ref('int_element_matches') }} as element
    on {{ rows }}.element_value_id = element.value_id and element.page_definition_id is null
left join {{ ref('int_element_matches') }} as element_of_page
    on
        {{ rows }}.element_value_id = element_of_page.value_id
        and page.definition_id = element_of_page.page_definition_id
left join {{ own_definitions('element') }} as own_element
    on {{ rows }}.element_definition_id = own_element.id
    {%- endif -%}
{%- endmacro %}


{% macro current_element_definition_id(rows, as_of=none) -%}
    {%- set stamped = rows ~ '.element_definition_id' -%}
    {%- if (as_of or definitions_as_of()) == 'today' -%}
        coalesce(
            element_of_page.definition_id,
            element.definition_id,
            case when own_element.id is null then {{ stamped }} end
        )
    {%- else -%}
        {{ stamped }}
    {%- endif -%}
{%- endmacro %}
