{% macro postgres__headrace_warehouse_types() -%}
    {#- json and not jsonb, so that a property stays as it was written. -#}
    {{ return({'double': 'double precision'}) }}
{%- endmacro %}

{% macro postgres__headrace_utc_day(column) -%}
    {#- Never by the session's time zone: the days become UTC literals. -#}
    cast({{ column }} at time zone 'UTC' as date)
{%- endmacro %}

{% macro postgres__headrace_local_day(column) -%}
    cast({{ column }} at time zone '{{ var("reporting_timezone") }}' as date)
{%- endmacro %}

{% macro postgres__headrace_period_start(column, period) -%}
    cast({{ dbt.date_trunc(period, column) }} as date)
{%- endmacro %}

{% macro postgres__headrace_elapsed(start, end, unit) -%}
    {%- set per_second = {'second': 1, 'millisecond': 1000, 'microsecond': 1000000}[unit] -%}
    cast(
        floor(extract(epoch from {{ end }}) * {{ per_second }})
        - floor(extract(epoch from {{ start }}) * {{ per_second }})
        as bigint
    )
{%- endmacro %}

{% macro postgres__headrace_parse_json(text) -%}
    cast({{ text }} as json)
{%- endmacro %}

{% macro postgres__headrace_try_parse_json(text) -%}
    {#- PostgreSQL has no cast that gives null where it fails: what is no JSON ends the build. -#}
    cast({{ text }} as json)
{%- endmacro %}

{% macro postgres__headrace_json_text(column, path) -%}
    case
        when json_typeof({{ column }} #> {{ postgres__json_path(path) }}) not in ('object', 'array')
            then {{ column }} #>> {{ postgres__json_path(path) }}
    end
{%- endmacro %}

{% macro postgres__headrace_json_object(column, path) -%}
    {%- set value = column ~ ' #> ' ~ postgres__json_path(path) -%}
    case when json_typeof({{ value }}) <> 'null' then {{ value }} end
{%- endmacro %}

{% macro postgres__headrace_json_texts(column, paths) -%}
    {#- Parsed once, as jsonb, which is 8 times as quick for 40 paths: what unnest gives is not computed again for each
        use. A number that jsonb can't hold must not stop the hour: beside one, the texts are found one by one. -#}
    unnest(array[
        case
            when cast({{ column }} as text) ~ '[eE][-+]?[0-9]{5}|[0-9]{30}'
                then to_jsonb(cast(array[
                    {%- for path in paths %}
                    {{ json_text(column, path) | indent(20) }}{{ ',' if not loop.last }}
                    {%- endfor %}
                ] as text[]))
            else cast({{ column }} as jsonb)
        end
    ])
{%- endmacro %}

{% macro postgres__headrace_json_texts_item(texts, paths, path) -%}
    case
        when jsonb_typeof({{ texts }}) = 'array' then {{ texts }} ->> {{ paths.index(path) }}
        when jsonb_typeof({{ texts }} #> {{ postgres__json_path(path) }}) not in ('object', 'array')
            then {{ texts }} #>> {{ postgres__json_path(path) }}
    end
{%- endmacro %}

{% macro postgres__json_path(path) -%}
    '{"{{ path.split('.') | join('","') }}"}'
{%- endmacro %}

{% macro postgres__headrace_json_items(column) -%}
    cross join lateral json_array_elements_text(
        case when json_typeof({{ column }}) = 'array' then {{ column }} end
    ) as items (item)
{%- endmacro %}

{% macro postgres__headrace_json_item() -%}
    items.item
{%- endmacro %}

{% macro postgres__headrace_try_cast(text, data_type) -%}
    {%- if data_type == 'double' -%}
        {%- set number = postgres__number(text) -%}
        case
            when abs({{ number }}) < 2.5e-324 then 0
            when abs({{ number }}) < 1.7976931348623158e308 then cast({{ number }} as double precision)
        end
    {%- elif data_type == 'date' -%}
        case
            when {{ matches(text, '[0-9]{4}-[0-9]{2}-[0-9]{2}') }} and {{ postgres__begins_with_a_day(text) }}
                then cast({{ text }} as date)
        end
    {%- else -%}
        cast({{ text }} as {{ warehouse_type(data_type) }})
    {%- endif -%}
{%- endmacro %}

{% macro postgres__headrace_rounded(text) -%}
    {%- set number = 'round(' ~ postgres__number(text) ~ ')' -%}
    case when {{ number }} between -9223372036854775808 and 9223372036854775807 then cast({{ number }} as bigint) end
{%- endmacro %}

{# A cast that fails stands in a case, which keeps its order. A numeric holds no exponent of five digits. -#}
{% macro postgres__number(text) -%}
    case
        when length({{ text }}) < 4000
            and {{ matches(text, '[[:space:]]*[-+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-9]+)?[[:space:]]*') }}
            then cast(regexp_replace({{ text }}, '([eE][-+]?)0*[1-9][0-9]{4,}', '\19999') as numeric)
    end
{%- endmacro %}

{% macro postgres__headrace_matches(text, pattern) -%}
    {{ text }} ~ '^({{ pattern }})$'
{%- endmacro %}

{% macro postgres__headrace_regexp_replace_all(text, pattern, by) -%}
    regexp_replace({{ text }}, '{{ pattern }}', '{{ by }}', 'g')
{%- endmacro %}

{% macro postgres__headrace_time_without_offset(text) -%}
    {{ postgres__time(text, 'timestamp') }} at time zone 'UTC'
{%- endmacro %}

{% macro postgres__headrace_time_with_offset(text) -%}
    {{ postgres__time(text, 'timestamptz') }}
{%- endmacro %}

{# What is finer than a microsecond is cut off, not rounded. -#}
{% macro postgres__time(text, type) -%}
    case
        when {{ postgres__begins_with_a_day(text) }}
            then cast(regexp_replace({{ text }}, '([.][0-9]{6})[0-9]+', '\1') as {{ type }})
    end
{%- endmacro %}

{# One that its month has: so many days after the first, it is still that month. -#}
{% macro postgres__begins_with_a_day(text) -%}
    case
        when {{ text }} ~ '^(?!0000)[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])'
            then
                extract(
                    month from cast(left({{ text }}, 7) || '-01' as date) + cast(substr({{ text }}, 9, 2) as int) - 1
                )
                = cast(substr({{ text }}, 6, 2) as int)
        else false
    end
{%- endmacro %}

{% macro postgres__headrace_percentile(column, fraction) -%}
    percentile_cont({{ fraction }}) within group (order by {{ column }})
{%- endmacro %}

{% macro postgres__headrace_layout(day, filter_by, join_by, data_type) -%}
    {%- set indexes = [{'columns': [day]}] -%}
    {%- for columns in [[filter_by, day], [join_by]] if {'columns': columns} not in indexes -%}
        {%- do indexes.append({'columns': columns}) -%}
    {%- endfor -%}
    {{ return({'indexes': indexes}) }}
{%- endmacro %}

{% macro postgres__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates=none) -%}
    {{- dbt.default__get_merge_sql(
        target, source, unique_key, dest_columns, headrace.with_literal_days(incremental_predicates)
    ) -}}
{%- endmacro %}

{% macro postgres__safe_cast(field, type) -%}
    {{ utc_or_cast(field, type) }}
{%- endmacro %}

{% macro postgres__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- if not headrace.leaves_views() -%}
        {{- dbt.default__persist_docs(relation, model, for_relation, for_columns) -}}
    {%- endif -%}
{%- endmacro %}

{% macro postgres__get_columns_in_relation(relation) -%}
    {{ return(headrace.declared_columns(relation) or dbt.postgres__get_columns_in_relation(relation)) }}
{%- endmacro %}
