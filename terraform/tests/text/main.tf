# What no plan shows of the module and the examples, by file and block: depends_on, lifecycle without its preconditions,
# and the settings of terraform and the provider.

locals {
  files = { for name in concat(sort(fileset("${path.module}/../..", "*.tf")), sort(fileset("${path.module}/../..", "examples/*/*.tf"))) : name => file("${path.module}/../../${name}") }

  blocks = { for name, text in local.files : name => {
    for block in regexall("(?m)^(\\w+(?: \"\\w+\")*) \\{\n((?:[^}\n][^\n]*)?(?:\n[^}\n][^\n]*|\n)*)\n\\}", text) : block[0] => block[1]
  } }

  told = { for name, blocks in local.blocks : name => { for block, text in blocks : block => merge(
    { for number, found in regexall("(?m)depends_on = \\[([^\\]]*)\\]", text) : "depends_on" => regexall("[\\w.]+", found[0]) },
    { for setting in regexall("(create_before_destroy|ignore_changes) += ([^\n]*)", text) : setting[0] => setting[1] },
    length(regexall("^(terraform|provider)", block)) == 0 ? {} : { settings = join(" ", regexall("[^\\s]+", join("\n", [for line in split("\n", text) : line if !startswith(trimspace(line), "#")]))) },
    ) if length(regexall("depends_on =|create_before_destroy|ignore_changes", text)) > 0 || length(regexall("^(terraform|provider)", block)) > 0
  } }
}

output "text" {
  description = "By file and block."
  value       = { for name, blocks in local.told : name => blocks if length(blocks) > 0 }
}
