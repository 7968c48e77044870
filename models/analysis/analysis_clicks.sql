{{ fact('click') }}
