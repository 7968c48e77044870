{{ fact('page_view') }}
