# What no plan shows of the module and the examples, by file and block: depends_on, lifecycle without its preconditions,
# the settings of terraform and the provider, where the zip is looked for; and which resources there are with which
# arguments, since a resource that no output names is in no plan that is compared, nor an argument that a mock makes up.

locals {
  files = { for name in concat(sort(fileset("${path.module}/../..", "*.tf")), sort(fileset("${path.module}/../..", "examples/*/*.tf"))) : name => file("${path.module}/../../${name}") }

  blocks = { for name, text in local.files : name => {
    for block in regexall("(?m)^(\\w+(?: \"\\w+\")*) \\{\n((?:[^}\n][^\n]*)?(?:\n[^}\n][^\n]*|\n)*)\n\\}", text) : block[0] => block[1]
  } }

  told = { for name, blocks in local.blocks : name => { for block, text in blocks : block => merge(
    { for number, found in regexall("(?m)depends_on = \\[([^\\]]*)\\]", text) : "depends_on" => regexall("[\\w.]+", found[0]) },
    { for setting in regexall("(create_before_destroy|ignore_changes|prevent_destroy|replace_triggered_by) += ([^\n]*)", text) : setting[0] => setting[1] },
    length(regexall("^variable \"zip", block)) == 0 ? {} : { for setting in regexall("(?m)^  (default) += ([^\n]*)", text) : setting[0] => setting[1] },
    length(regexall("^(terraform|provider)", block)) == 0 ? {} : { settings = join(" ", regexall("[^\\s]+", join("\n", [for line in split("\n", text) : line if !startswith(trimspace(line), "#")]))) },
  ) } }

  made = { for name, text in local.files : name => {
    for block in flatten(regexall("(?m)^((?:resource|data|module|check|moved|removed|import)(?: \"\\w+\")*) \\{", text)) :
    block => sort(flatten(regexall("(?m)^  (\\w+)(?: \"\\w+\")?(?: +=| \\{)", try(local.blocks[name][block], ""))))
  } }
}

output "text" {
  description = "By file and block."
  value       = { for name, blocks in local.told : name => { for block, told in blocks : block => told if length(told) > 0 } if anytrue([for told in values(blocks) : length(told) > 0]) }
}

output "made" {
  description = "The arguments of the blocks that make something, by file and block."
  value       = { for name, blocks in local.made : name => blocks if length(blocks) > 0 }
}
