{{ fact('paste') }}
