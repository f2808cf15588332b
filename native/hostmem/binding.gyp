{
  'variables': {
    # Set by native/build.ts.
    'node_addon_api_include%': '',
    'xxhash_include%': '',
    'stator_sanitize%': '',
  },
  'targets': [
    {
      'target_name': 'hostmem',
      'sources': [
        'src/addon.cc',
        'src/bulk.cc',
        'src/checksum.cc',
        'src/control.cc',
        'src/copy.cc',
        'src/memory.cc',
        'src/memory_api.cc',
        'src/pool.cc',
        'src/running.cc',
        'src/shared_file.cc',
        'src/xxhash.c',
        'src/xxhash_dispatch.c',
      ],
      'include_dirs': ['<(node_addon_api_include)', '<(xxhash_include)'],
      'defines': ['NAPI_VERSION=9', 'NAPI_CPP_EXCEPTIONS', 'NODE_ADDON_API_CPP_EXCEPTIONS_ALL', 'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS', 'NODE_ADDON_API_DISABLE_DEPRECATED'],
      'cflags_cc': ['-std=c++20', '-O2', '-Wall', '-Wextra', '-Wno-unused-parameter', '-fvisibility=hidden'],
      'cflags_c': ['-O3', '-fvisibility=hidden'],
      'cflags!': ['-fno-exceptions'],
      'cflags_cc!': ['-fno-exceptions', '-fno-rtti', '-std=gnu++17', '-std=gnu++20'],
      'conditions': [
        ['stator_sanitize!=""', {
          'cflags_cc': ['-fsanitize=<(stator_sanitize)', '-fno-omit-frame-pointer', '-g', '-O1'],
          'ldflags': ['-fsanitize=<(stator_sanitize)'],
        }],
      ],
    },
  ],
}
