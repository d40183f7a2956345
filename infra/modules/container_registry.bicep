// Images of the three workspaces' environments.
param name string
param location string
param tags object
param privateNetwork bool
@description('Identities of clusters: {name, principal}.')
param pullers array

var roles = loadYamlContent('../rbac.yml').roles

resource images 'Microsoft.ContainerRegistry/registries@2025-11-01' = {
  // checkov:skip=CKV_AZURE_166: images are built by AzureML from pinned, hashed packages; quarantine would hide them from it
  // checkov:skip=CKV_AZURE_139: private endpoints are switched on by the parameter file (privateNetwork)
  // checkov:skip=CKV_AZURE_163: scanning is Defender for Cloud's, which a subscription switches on
  name: name
  location: location
  tags: tags
  sku: {
    name: privateNetwork ? 'Premium' : 'Standard'
  }
  properties: {
    adminUserEnabled: false
    anonymousPullEnabled: false
    publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'
    networkRuleBypassOptions: 'AzureServices'
  }
}

resource pull 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for puller in pullers: {
  name: guid(images.id, puller.name, 'AcrPull')
  scope: images
  properties: {
    principalId: puller.principal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.AcrPull)
  }
}]

output id string = images.id
