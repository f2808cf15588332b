{
  'variables': {
    # Set by native/build.ts and prepare.ts. The names are prefixed because common.gypi overrides plain ones.
    'node_addon_api_include%': '',
    'xxhash_include%': '',
    'llama_include%': '',
    'llama_libraries%': '',
    'llama_rpath%': '',
    'llama_soname%': '',
    'ggml_soname%': '',
    'stator_sanitize%': '',
  },
  'targets': [
    {
      'target_name': 'llamacpp',
      'sources': [
        'src/abort_guard.cc',
        'src/addon.cc',
        'src/embedder.cc',
        'src/engine.cc',
        'src/engine_api.cc',
        'src/engine_step.cc',
        'src/gguf_check.cc',
        'src/kv_cache.cc',
        'src/log.cc',
        'src/model.cc',
        'src/options.cc',
        'src/reference.cc',
        'src/sampler.cc',
        'src/step.cc',
        'src/vocab.cc',
      ],
      'include_dirs': ['../common', '<(node_addon_api_include)', '<(xxhash_include)', '<(llama_include)/include', '<(llama_include)/ggml/include'],
      'defines': ['NAPI_VERSION=9', 'NAPI_CPP_EXCEPTIONS', 'NODE_ADDON_API_CPP_EXCEPTIONS_ALL', 'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS', 'NODE_ADDON_API_DISABLE_DEPRECATED'],
      'cflags_cc': ['-std=c++20', '-O2', '-Wall', '-Wextra', '-Wno-unused-parameter', '-fvisibility=hidden'],
      'cflags!': ['-fno-exceptions'],
      'cflags_cc!': ['-fno-exceptions', '-fno-rtti', '-std=gnu++17', '-std=gnu++20'],
      'libraries': [
        '-L<(llama_libraries)',
        '-l:<(llama_soname)',
        '-l:<(ggml_soname)',
        '-l:libggml-base.so',
        "-Wl,-rpath,'$$ORIGIN/<(llama_rpath)'",
      ],
      'conditions': [
        ['stator_sanitize!=""', {
          'cflags_cc': ['-fsanitize=<(stator_sanitize)', '-fno-omit-frame-pointer', '-g', '-O1'],
          'ldflags': ['-fsanitize=<(stator_sanitize)'],
        }],
      ],
    },
  ],
}
